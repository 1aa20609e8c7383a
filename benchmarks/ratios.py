"""How much faster or slower than a named rival: one table of ratios, measured in one run.

``python -m benchmarks.ratios`` prints all of them, ``python -m benchmarks.ratios sampling search``
some. Both sides run in turn, and the ratio is one of medians of processor seconds of one thread, so
that other work on the machine affects both alike. Above 1, the first side is faster.
"""

import argparse
import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from mpqbench.contracts import LayerData
from mpqbench.core.formats import formats_of_class
from mpqbench.core.memory import keep_freed_memory
from mpqbench.core.precision import Allocation, Precision
from mpqbench.core.protocol import PROTOCOLS, Protocol
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover
from mpqbench.dit.groups import layer_groups
from mpqbench.dit.loading import DiTModel, load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.build import GroupQuantizer

Row = tuple[str, str, float]  # what, its rival, and how much faster
SHORT_SEARCH = {
    "INPUTS": "16", "KEEP": "3", "BLOCKS": "6", "CHOICES": "W2A3,W3A3,W4A4,W5A4,W8A8",
}  # fmt: skip


def ratio(own: Callable[[], Any], rival: Callable[[], Any], rounds: int) -> float:
    """Return the median seconds of ``rival`` over those of ``own``, called in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for call, found in zip((own, rival), seconds, strict=True):
            start = time.process_time()
            call()
            if number:  # the first round warms up
                found.append(time.process_time() - start)
    return statistics.median(seconds[1]) / statistics.median(seconds[0])


def quick(**changes: Any) -> Protocol:
    """Return the protocol ``quick`` with fields changed."""
    return Protocol(**PROTOCOLS["quick"].model_dump() | changes)


def stock_pipeline(model: DiTModel) -> Any:
    """Return diffusers' pipeline of the same weights; its null class is number 1,000."""
    from diffusers import DDIMScheduler, DiTPipeline

    transformer = copy.deepcopy(model.transformer)
    for block in transformer.transformer_blocks:
        table = block.norm1.emb.class_embedder.embedding_table.weight
        more = torch.cat([table, table[-1:].expand(1001 - len(table), -1)])
        block.norm1.emb.class_embedder.embedding_table = nn.Embedding.from_pretrained(more)
    made = DiTPipeline(transformer, model.vae, DDIMScheduler(clip_sample=False))
    made.set_progress_bar_config(disable=True)
    return made


def sampling(rounds: int) -> Iterator[Row]:
    """Compare images of one micro-batch with guidance: noise, all steps and decoding."""
    model, protocol = load_model("fashion-dit"), quick()
    sampler, pipeline = Sampler(model, protocol, 0, "cpu"), stock_pipeline(model)
    count = protocol.micro_batch
    generators = [torch.Generator().manual_seed(number) for number in range(count)]

    def stock() -> None:
        made = pipeline(
            class_labels=[number % model.classes for number in range(count)],
            guidance_scale=sampler.guidance,
            generator=generators,
            num_inference_steps=protocol.steps,
            output_type="np",
        )
        assert made.images.shape == (count, 32, 32, 1)

    for name, changes in (("", {}), (" with --compile", {"compiled": True})):
        sampler = Sampler(model, quick(**changes), 0, "cpu")
        own = lambda: list(sampler.batches(0, count))  # noqa: B023, E731
        yield f"sampling {count} images{name}", "diffusers' DiTPipeline", ratio(own, stock, rounds)


class Forward:
    """The forward of one sampling step of ``quick``, both classes of guidance together."""

    def __init__(self, model: str = "fashion-dit", dtype: str = "float32", **changes: Any) -> None:
        protocol = quick(dtype=dtype, **changes)
        self.model = load_model(model).to("cpu", getattr(torch, dtype))
        self.sampler = Sampler(self.model, protocol, 0, "cpu")
        self.latents, self.classes, _ = self.sampler.begin(0)
        self.own = self.model.architecture.repeated(self.model.transformer)

    @torch.inference_mode()
    def __call__(self, forward: Any = None) -> None:
        self.sampler.predict(self.latents, 500.0, self.classes, forward or self.own)


def quantized(model: DiTModel, transform: str, format_class: str) -> AbstractContextManager[Any]:
    """Return the model at W4A4, rounded to nearest, until the context exits."""
    registry, groups = discover(), layer_groups(model.transformer)
    four, eight = Precision(4, 4), Precision(8, 8)
    quantizer = GroupQuantizer(
        registry.create("transform", PluginChoice(name=transform)),
        registry.create("rounding", PluginChoice(name="nearest")),
        *formats_of_class(format_class),
        lambda name: LayerData(name, 0, 0),
    )
    allocation = Allocation({g.name: four if g.searchable else eight for g in groups})
    return quantize_model(model.transformer, groups, allocation, quantizer)


def fake_quantized(rounds: int) -> Iterator[Row]:
    """Compare forwards of quantized models with those of full precision."""
    full = Forward()
    for format_class in ("channel", "g32"):
        for transform, text in (("none", ""), ("hadamard", " with a rotation")):
            other = Forward()
            with quantized(other.model, transform, format_class):
                other.own = other.model.architecture.repeated(other.model.transformer)
                found = ratio(other, full, rounds)
            yield f"W4A4, {format_class}{text}", "full precision", found


def embedded_models(rounds: int) -> Iterator[Row]:
    """Compare forwards of the two embedded models, with guidance."""
    for count in (1, quick().micro_batch):
        first, second = (
            Forward(model, micro_batch=count) for model in ("fashion-dit", "emoji-mmdit")
        )
        what = f"fashion-dit, {count} image{'s' * (count > 1)}"
        yield what, "emoji-mmdit", ratio(first, second, rounds)


def other_arithmetic(rounds: int) -> Iterator[Row]:
    """Compare forwards that change last bits or more with the usual one."""
    usual, half = Forward(), Forward(dtype="bfloat16")
    yield "bfloat16", "float32", ratio(half, usual, rounds)
    for name in ("full precision", "W4A4, channel"):
        made = nullcontext() if name[0] == "f" else quantized(usual.model, "none", "channel")
        with made:
            transformer = usual.model.transformer
            usual.own = usual.model.architecture.repeated(transformer)
            fused = usual.model.architecture.fused(transformer)
            found = ratio(lambda: usual(fused), usual, rounds)  # noqa: B023
        yield f"--compile, {name}", "without", found


def search(rounds: int) -> Iterator[Row]:
    """Compare a short tree-structured search with one whose candidates are whole forwards."""
    os.environ |= SHORT_SEARCH | dict(os.environ)  # which the module reads
    from benchmarks import bench_engine as bench

    setting = bench.make_setting()
    _, found, seconds = bench.searched(setting, bench.engine_scorer(setting))
    for name, rival in (("whole forwards, weights rounded before", bench.Prepared),
                        ("whole forwards, quantized for each candidate", bench.Naive)):  # fmt: skip
        scorer = rival(setting)
        try:
            _, expected, other = bench.searched(setting, scorer)
        finally:
            scorer.close()
        assert found == expected
        yield "scores of a short search", name, other / seconds


def workers(rounds: int) -> Iterator[Row]:
    """Compare two processes of one thread that share ``quick`` with one, in seconds of the clock.

    Both run once: each takes minutes, and every process starts, calibrates and draws figures.
    """
    seconds = {}
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = ["run", "quick", "--workers", str(count), "--out", folder]
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "mpqbench", *command], check=True, capture_output=True
            )
            seconds[count] = time.perf_counter() - start
    yield f"quick by two workers ({seconds[2]:.0f} s)", "by one", seconds[1] / seconds[2]


def start_up(rounds: int) -> Iterator[Row]:
    """Compare commands that start and end with Python alone, and with its import of torch."""
    rivals = {"python -c 'import torch'": [sys.executable, "-c", "import torch"]}
    count = ["cost", "--model", "dit-xl-2-256", "--method", "treeq", "--budget", "W4A4"]
    for name, arguments in (("mpqbench list", ["list"]), ("mpqbench cost", count)):
        own = [sys.executable, "-m", "mpqbench", *arguments]
        for rival, command in rivals.items():
            yield name, rival, _of_processes(own, command, min(rounds, 5))


def _of_processes(own: list[str], rival: list[str], rounds: int) -> float:
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for command, found in zip((own, rival), seconds, strict=True):
            before = os.times()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = os.times()
            found.append(
                after.children_user + after.children_system
                - before.children_user - before.children_system
            )  # fmt: skip
    return statistics.median(seconds[1]) / statistics.median(seconds[0])


PARTS = {
    "sampling": sampling,
    "quantized": fake_quantized,
    "models": embedded_models,
    "arithmetic": other_arithmetic,
    "search": search,
    "start": start_up,
    "workers": workers,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    print("| what | rival | times as fast |\n| --- | --- | ---: |")
    for name in given.parts:
        for what, rival, found in PARTS[name](given.rounds):
            print(f"| {what} | {rival} | {found:.2f} |", flush=True)


if __name__ == "__main__":
    main()
