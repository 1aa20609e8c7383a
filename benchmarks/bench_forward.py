"""A fake-quantized forward of the embedded model against its full-precision forward.

The gap has two parts: arithmetic that a fused kernel would do as well (``quantizers in cache``: the
same numbers, in pieces that stay in cache), and passes over memory, which fusion would remove.
"""

from __future__ import annotations

import pytest
import torch

from mpqbench.contracts import LayerData
from mpqbench.formats import ActivationFormat, WeightFormat
from mpqbench.memory import keep_freed_memory
from mpqbench.models.groups import layer_groups
from mpqbench.models.loading import load_model
from mpqbench.precision import Allocation, Precision
from mpqbench.quant.apply import quantize_model
from mpqbench.recipe import PluginChoice
from mpqbench.registry import discover

BATCHES = (100, 256)  # 100: a micro-batch of 50 with and without class
IN_CACHE = 2**16  # numbers in a quantizer at a time: 256 KB


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
        transform=registry.create("transform", PluginChoice(name=transform)),
        rounding=registry.create("rounding", PluginChoice(name="nearest")),
        weight_format=WeightFormat(),
        activation_format=ActivationFormat(),
        layer_data=lambda name: LayerData(name, 0, 0),
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
    with quantized(model, transform):
        measure(benchmark, forward, model, inputs(batch))


@pytest.mark.parametrize("batch", BATCHES)
def bench_quantizers_in_cache(benchmark, model, batch):
    """Every quantizer of the forward over as many rows, in pieces that stay in cache."""
    benchmark.group = f"forward of {batch} latents"
    with quantized(model) as made:
        layers = [layer for layer in made.layers.values() if layer.reader == 0]
        rows = [batch if layer.precision == Precision(8, 8) else 16 * batch for layer in layers]
        widths = [layer.in_features for layer in layers]
        pieces = [torch.randn(IN_CACHE // width, width) for width in widths]

        @torch.inference_mode()
        def quantizers():
            for layer, count, piece in zip(layers, rows, pieces, strict=True):
                for _ in range(round(count / len(piece))):
                    layer.activation(piece)

        measure(benchmark, quantizers)
