"""Images per second of a DiT of DiT-XL/2's shapes on a GPU, in full precision and at W4A4.

``python -m benchmarks.gpu`` samples with random weights in bfloat16, with and without
torch.compile, and prints images per second, the share of the rate of this GPU's matrix products
that is measured beside them, and the peak of memory. MODEL (random:dit-xl-2-256), IMAGES (64, one
micro-batch), STEPS (10; images per second are for 250 steps) and BLOCKS (all) make it smaller. Fake
quantization simulates: its values are multiplied in bfloat16, and no integer kernel runs.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.ratios import quantized
from mpqbench.core.precision import FULL
from mpqbench.core.protocol import PROTOCOLS, Protocol
from mpqbench.cost.count import CountOptions, count
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.dit.loading import DiTModel, load_model, skeleton
from mpqbench.dit.sampling import Sampler

MODEL = os.environ.get("MODEL", "random:dit-xl-2-256")
IMAGES, STEPS, BLOCKS = (
    int(os.environ.get(name, usual))
    for name, usual in (("IMAGES", 64), ("STEPS", 10), ("BLOCKS", 0))
)
WHOLE = 250  # steps of the protocol dit-50k
SIDE = 8192  # of the matrices whose products say what the GPU can do


def seconds(call: Callable[[], Any]) -> float:
    """Return the seconds of a second call, the first one warms up."""
    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def matrix_rate() -> float:
    """Return the multiply-accumulates per second of a large product in bfloat16."""
    a, b = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return float(10 * SIDE**3 / seconds(lambda: [a @ b for _ in range(10)]))


def macs_of(model: DiTModel) -> int:
    """Return the multiply-accumulates of one forward of one image."""
    groups = layer_groups(model.transformer)
    allocation = uniform_allocation(groups, FULL, FULL)
    report = count(skeleton(model.transformer), groups, allocation, CountOptions())
    return sum(operator.macs for operator in report.operators)


def main() -> None:
    """Print a row for each setting, or a sentence where there is no GPU."""
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu measures a GPU, and torch finds none on this machine")
    changes = {"steps": STEPS, "micro_batch": IMAGES, "dtype": "bfloat16", "features": "none"}
    protocol = Protocol(**PROTOCOLS["dit-50k"].model_dump() | changes)
    model = load_model(MODEL)
    if BLOCKS:
        model.transformer.transformer_blocks = model.transformer.transformer_blocks[:BLOCKS]
        model.transformer.register_to_config(num_layers=BLOCKS)
    model = model.to("cuda", torch.bfloat16)
    rate, macs = matrix_rate(), macs_of(model)
    print(f"{torch.cuda.get_device_name()}: {rate / 1e12:.0f} TMAC/s in products of {SIDE}^2")
    print("| model | compiled | images/s, 250 steps | share of the rate | peak GB |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in ("full precision", "W4A4"):
        for compiled in (False, True):
            made = nullcontext() if name[0] == "f" else quantized(model, "none", "channel")
            torch.cuda.reset_peak_memory_stats()
            with made:
                given = protocol.model_copy(update={"compiled": compiled})
                sampler = Sampler(model, given, 0, "cuda")
                own = sampler._final_forward()  # without decoding, which is the same for all
                took = seconds(lambda: sampler._denoise(0, None, own)) / STEPS  # noqa: B023
            images, peak = IMAGES / took / WHOLE, torch.cuda.max_memory_allocated() / 1e9
            share = sampler.guidance_passes * IMAGES * macs / took / rate
            print(f"| {name} | {compiled} | {images:.2f} | {share:.0%} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()
