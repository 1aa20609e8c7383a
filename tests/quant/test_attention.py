"""Attention products on quantized operands."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DiTTransformer2DModel

from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.transforms.none import NoTransform
from mpqbench.conformance.models import tiny_transformer
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.quant.affine import grid_from_range, round_trip
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.attention import QuantizedAttention


@pytest.fixture
def transformer() -> DiTTransformer2DModel:
    return tiny_transformer()


def _forward(model):
    x = 3 * torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    times, classes = torch.tensor([5, 300, 700, 999]), torch.tensor([0, 1, 2, 3])
    with torch.inference_mode():
        return model(x, timestep=times, class_labels=classes).sample


def _quantized(model, bits):
    groups = layer_groups(model)
    return quantize_model(
        model,
        groups,
        uniform_allocation(groups, FULL, FULL),
        transform=NoTransform(),
        rounding=Nearest(),
        weight_format=WeightFormat(),
        activation_format=ActivationFormat(),
        layer_data=lambda name: LayerData(name, 0, 0),
        attention_bits=bits,
    )


def test_the_error_shrinks_with_the_bits_and_goes_with_the_model(transformer):
    exact, errors = _forward(transformer), []
    processors = [block.attn1.processor for block in transformer.transformer_blocks]
    for bits in (2, 4, 8):
        with _quantized(transformer, bits):
            errors.append(float((_forward(transformer) - exact).square().mean()))
    assert errors[0] > 4 * errors[1] > 16 * errors[2] > 0
    assert [block.attn1.processor for block in transformer.transformer_blocks] == processors
    assert torch.equal(_forward(transformer), exact)


def _on_own_grid(vector, bits):
    return round_trip(vector, grid_from_range(vector.min(), vector.max(), bits, symmetric=False))


def test_every_operand_has_a_grid_per_vector_that_is_summed_over():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 8, generator=generator) for _ in range(3))
    ours = QuantizedAttention(4).attend(query, key, value)
    for image in range(2):
        for head in range(3):
            q, k, v = (
                torch.stack([_on_own_grid(row, 4) for row in x[image, head]])
                for x in (query, key, value.transpose(-1, -2))
            )
            weights = torch.softmax(q @ k.T / math.sqrt(8), dim=-1)
            weights = torch.stack([_on_own_grid(row, 4) for row in weights])
            torch.testing.assert_close(ours[image, head], weights @ v.T)


def test_gradients_reach_all_three():
    parts = [torch.randn(1, 1, 4, 8, requires_grad=True) for _ in range(3)]
    QuantizedAttention(4).attend(*parts).square().sum().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in parts)


def test_masks_are_refused(transformer):
    attention = transformer.transformer_blocks[0].attn1
    with pytest.raises(BenchError, match="without a mask"):
        QuantizedAttention(4)(attention, torch.zeros(1, 4, 16), attention_mask=torch.zeros(1))
