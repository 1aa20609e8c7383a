"""Attention products on quantized operands."""

import math

import torch
from tiny_quantizer import output, quantized

from mpqbench.core.precision import FULL
from mpqbench.quant.affine import qparams_from_range, quantize_dequantize
from mpqbench.quant.attention import QuantizedAttention


def test_the_error_shrinks_with_the_bits_and_goes_with_the_model(transformer):
    exact, errors = output(transformer), []
    processors = [block.attn1.processor for block in transformer.transformer_blocks]
    for bits in (2, 4, 8):
        with quantized(transformer, FULL, FULL, attention_bits=bits):
            errors.append(float((output(transformer) - exact).square().mean()))
    assert errors[0] > 4 * errors[1] > 16 * errors[2] > 0
    assert [block.attn1.processor for block in transformer.transformer_blocks] == processors
    assert torch.equal(output(transformer), exact)


def _on_own_grid(vector, bits):
    return quantize_dequantize(
        vector, qparams_from_range(vector.min(), vector.max(), bits, symmetric=False)
    )


def test_every_operand_has_a_grid_per_vector_that_is_summed_over():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 8, generator=generator) for _ in range(3))
    ours = QuantizedAttention(4)(query, key, value)
    for image in range(2):
        for head in range(3):
            q, k, v = (
                torch.stack([_on_own_grid(row, 4) for row in x[image, head]])
                for x in (query, key, value.transpose(-1, -2))
            )
            weights = torch.softmax(q @ k.T / math.sqrt(8), dim=-1)
            weights = torch.stack([_on_own_grid(row, 4) for row in weights])
            torch.testing.assert_close(ours[image, head], weights @ v.T)
