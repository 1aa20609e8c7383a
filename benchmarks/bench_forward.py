"""A fake-quantized forward of the embedded model against its full-precision forward.

The difference has two parts: arithmetic that a fused kernel needs too (``arithmetic ms`` in the
JSON output), and passes over memory and calls, which fusion would remove.
"""

import time

import pytest
import torch

from mpqbench.contracts import LayerData
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.memory import keep_freed_memory
from mpqbench.core.precision import Allocation, Precision
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover
from mpqbench.dit.groups import layer_groups
from mpqbench.dit.loading import load_model
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.build import GroupQuantizer

BATCHES = (100, 256)  # 100: a micro-batch of 50 with and without class


@pytest.fixture(scope="module")
def model():
    keep_freed_memory()
    return load_model("fashion-dit")


def inputs(batch):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, 4, 8, 8, generator=generator)
    return latents, torch.full((batch,), 500), torch.arange(batch) % 11


@torch.inference_mode()
def forward(model, arguments):
    return model.transformer(*arguments).sample


def quantized(model, transform="none"):
    registry = discover()
    groups = layer_groups(model.transformer)
    precision = Precision(4, 4)
    return quantize_model(
        model.transformer,
        groups,
        Allocation({g.name: precision if g.searchable else Precision(8, 8) for g in groups}),
        GroupQuantizer(
            registry.create("transform", PluginChoice(name=transform)),
            registry.create("rounding", PluginChoice(name="nearest")),
            WeightFormat(),
            ActivationFormat(),
            lambda name: LayerData(name, 0, 0),
        ),
    )


def measure(benchmark, function, *arguments):
    benchmark.pedantic(function, arguments, rounds=15, warmup_rounds=2)


@pytest.mark.parametrize("batch", BATCHES)
def bench_full_precision(benchmark, model, batch):
    benchmark.group = f"forward of {batch} latents"
    measure(benchmark, forward, model, inputs(batch))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("transform", ["none", "hadamard"])
def bench_w4a4(benchmark, model, batch, transform):
    benchmark.group = f"forward of {batch} latents"
    with quantized(model, transform) as made:
        measure(benchmark, forward, model, inputs(batch))
        benchmark.extra_info["arithmetic ms"] = round(arithmetic_ms(made, batch), 1)


def arithmetic_ms(made, batch):
    """Return the milliseconds of the six operations of all quantizers on cached data, all threads.

    The time per number is a difference between two sizes, which removes the constant cost of calls.
    """
    layers = [layer for layer in made.layers.values() if layer.reader == 0]
    rows = [batch if layer.precision == Precision(8, 8) else 16 * batch for layer in layers]
    numbers = sum(n * layer.in_features for n, layer in zip(rows, layers, strict=True))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small, large = (_six_operations(size) for size in (2**8, 2**15))
    torch.set_num_threads(threads)
    return 1e3 * numbers * (large - small) / (2**15 - 2**8) / threads


def _six_operations(size):
    """Return the least seconds of min, max, divide, round, clamp, multiply on ``size`` numbers."""
    x, scale = torch.randn(size // 128 or 1, min(size, 128)), torch.tensor(1.0)
    best = float("inf")
    for _ in range(300):
        start = time.perf_counter()
        x.amin(-1)
        x.amax(-1)
        torch.minimum(x.div_(scale).round_(), scale, out=x).mul_(scale)
        best = min(best, time.perf_counter() - start)
    return best
