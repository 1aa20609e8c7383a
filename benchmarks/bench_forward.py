"""A fake-quantized forward of the embedded model against its full-precision forward."""

from __future__ import annotations

import pytest
import torch

from mpqbench.contracts import LayerData
from mpqbench.formats import ActivationFormat, WeightFormat
from mpqbench.models.groups import layer_groups
from mpqbench.models.loading import load_model
from mpqbench.precision import Allocation, Precision
from mpqbench.quant.apply import quantize_model
from mpqbench.recipe import PluginChoice
from mpqbench.registry import discover

BATCH = 100  # a micro-batch of 50 with and without class


@pytest.fixture(scope="module")
def model():
    return load_model("fashion-dit")


def inputs():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(BATCH, 4, 8, 8, generator=generator)
    return latents, torch.full((BATCH,), 500), torch.arange(BATCH) % 11


@torch.inference_mode()
def forward(model, arguments):
    return model.transformer(*arguments).sample


@pytest.mark.benchmark(group="forward of 100 latents")
def bench_full_precision(benchmark, model):
    benchmark(forward, model, inputs())


@pytest.mark.benchmark(group="forward of 100 latents")
def bench_w4a4(benchmark, model):
    registry = discover()
    groups = layer_groups(model.transformer)
    precision = Precision(4, 4)
    quantized = quantize_model(
        model.transformer,
        groups,
        Allocation({g.name: precision if g.searchable else Precision(8, 8) for g in groups}),
        transform=registry.create("transform", PluginChoice(name="none")),
        rounding=registry.create("rounding", PluginChoice(name="nearest")),
        weight_format=WeightFormat(),
        activation_format=ActivationFormat(),
        layer_data=lambda name: LayerData(name, 0, 0),
    )
    with quantized:
        benchmark(forward, model, inputs())
