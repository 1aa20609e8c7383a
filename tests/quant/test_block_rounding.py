"""What a rounding of whole blocks is given, and what becomes of its answer."""

from dataclasses import dataclass, field

import pytest
import torch
from tiny_quantizer import quantized

from mpqbench.contracts import BlockData, Rounding
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat
from mpqbench.core.precision import FULL, Precision
from mpqbench.dit.blocks import BlockCall
from mpqbench.dit.groups import layer_groups
from mpqbench.quant.activation import StepRanges
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.block import BlockInputs

W3A4 = Precision(3, 4)


@dataclass
class _Watching(Rounding):
    """Nearest rounding of every layer; remembers what it saw."""

    leave_out: str = ""
    blocks: list[BlockData] = field(default_factory=list)
    by_block = True

    def round(self, weight, layer, fmt, bits):
        raise AssertionError("a rounding of blocks is not asked for a layer")

    def round_block(self, block, fmt):
        self.blocks.append(block)
        return {
            path: quantize_weight(weight, fmt, block.bits[path], path)
            for path, weight in block.weights.items()
            if path != self.leave_out
        }


def _inputs(block: int) -> BlockInputs:
    generator = torch.Generator().manual_seed(block)
    hidden = torch.randn(6, 16, 16, generator=generator)
    times, classes = torch.arange(6) * 150, torch.arange(6) % 4
    given = {"timestep": times, "class_labels": classes}
    return BlockInputs(BlockCall({"hidden_states": hidden}, given), times)


def _apply(model, rounding, **settings):
    return quantized(model, W3A4, rounding=rounding, **({"block_inputs": _inputs} | settings))


@pytest.mark.parametrize("attention_bits", [None, 4])
def test_the_function_of_a_block_is_the_block_that_ends_up_in_the_model(
    transformer, attention_bits
):
    rounding = _Watching()
    exact = [_run(b, _inputs(i), slice(None)) for i, b in enumerate(_blocks(transformer))]
    indices = torch.tensor([4, 1])
    with _apply(transformer, rounding, attention_bits=attention_bits) as made:
        assert [block.name for block in rounding.blocks] == [
            "transformer_blocks.0",
            "transformer_blocks.1",
        ]
        for number, block in enumerate(_blocks(transformer)):
            seen = rounding.blocks[number]
            torch.testing.assert_close(seen.targets, exact[number])
            weights = {path: made.layers[path].weight for path in seen.weights}
            expected = _run(block, _inputs(number), indices)
            torch.testing.assert_close(seen.forward(weights, indices), expected)


def _run(block, inputs, at):
    return block(**inputs.call.map(lambda x: x[at]).arguments)


def _blocks(model):
    return list(model.transformer_blocks)


def test_the_function_is_differentiable_in_every_weight(transformer):
    rounding = _Watching()
    _apply(transformer, rounding).remove()
    seen = rounding.blocks[0]
    weights = {path: w.clone().requires_grad_() for path, w in seen.weights.items()}
    with torch.enable_grad():
        error = (seen.forward(weights, torch.arange(6)) - seen.targets).square().sum()
        error.backward()
    assert len(weights) == 7
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in weights.values())


def test_time_grouped_grids_follow_the_indices(transformer):
    fmt = ActivationFormat(granularity="tensor", time_groups=2)
    steps = torch.tensor([100, 900])
    ranges = StepRanges(steps, torch.tensor([-1.0, -5.0]), torch.tensor([1.0, 5.0]))
    paths = [path for group in layer_groups(transformer) for path in group.layers]
    rounding = _Watching()
    options = {"static_ranges": dict.fromkeys(paths, ranges)}
    with _apply(transformer, rounding, activation_format=fmt, **options) as made:
        seen = rounding.blocks[0]
        weights = {path: made.layers[path].weight for path in seen.weights}
        one_by_one = torch.cat([seen.forward(weights, torch.tensor([i])) for i in range(6)])
        torch.testing.assert_close(seen.forward(weights, torch.arange(6)), one_by_one)


def test_only_layers_with_quantized_weights_are_rounded(transformer):
    rounding = _Watching()
    changes = {"blocks.0.mlp.up": Precision(None, 4), "blocks.1.adaln": FULL}
    with _apply(transformer, rounding, changes=changes) as made:
        assert "transformer_blocks.0.ff.net.0.proj" not in rounding.blocks[0].weights
        assert "transformer_blocks.0.ff.net.0.proj" in made.layers
        assert "transformer_blocks.1.norm1.linear" not in rounding.blocks[1].weights
        assert rounding.blocks[0].bits["transformer_blocks.0.norm1.linear"] == 8


def test_a_layer_left_out_is_an_error_that_names_it(transformer):
    missing = "transformer_blocks.1.attn1.to_k"
    with pytest.raises(BenchError, match=missing):
        _apply(transformer, _Watching(leave_out=missing))
