"""What a rounding that sees a whole block promises besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from ..contracts import BlockData, QuantizedWeight, Rounding
from ..core.formats import WeightFormat
from ..quant.affine import quantize_weight
from .check import Check, attempt, check_of, expect, own_generators_only
from .layers import SampleLayer, ordinary

TOKENS = 8
WIDTH, HIDDEN = 12, 20
FORMATS = (WeightFormat(), WeightFormat(granularity="group", group=4, symmetric=False))
BITS = {"block.up": 4, "block.down": 3}  # one block may mix precisions


class BlockChecks:
    """The checks of ``round_block`` on two layers with a GELU between and a residual around."""

    def __init__(self, plugin: Rounding, error_bound: float) -> None:
        self.plugin = plugin
        self.error_bound = error_bound
        self._results: dict[WeightFormat, Mapping[str, QuantizedWeight]] = {}

    def all(self) -> list[Check]:
        """All checks."""
        return [
            check_of(self.layers, "block-layers"),
            check_of(self.deterministic, "block-deterministic"),
            check_of(self.error, "block-error"),
        ]

    def layers(self) -> None:
        """All layers of a block are rounded, each in its own bits."""
        from .roundings import expect_range

        for fmt in FORMATS:
            result, block = self._rounded(fmt), toy_block(fmt)
            expect(
                set(result) == set(block.weights),
                f"block, {_title(fmt)}: round_block gave {sorted(result)}, "
                f"not {sorted(block.weights)}",
            )
            for name, rounded in result.items():
                where = f"block, {_title(fmt)}, layer '{name}'"
                shape, given = block.weights[name].shape, rounded.integers.shape
                expect(shape == given, f"{where}: shape {tuple(given)}, not {tuple(shape)}")
                expect(
                    rounded.bits == BITS[name],
                    f"{where}: {rounded.bits} bits, not the {BITS[name]} of block.bits",
                )
                expect_range(where, "integers", rounded.integers, rounded.bits)
                finite = rounded.dequantize().isfinite().all()
                expect(finite, f"{where}: rounded weights are not finite")

    def deterministic(self) -> None:
        """One block and seed give one result, and global random generators are left alone."""
        fmt, pair = FORMATS[0], []
        for seed in (1, 2):
            with own_generators_only("block", seed):
                pair.append(self._round(fmt))
        same = all(torch.equal(pair[0][n].integers, pair[1][n].integers) for n in pair[0])
        expect(same, "block: two runs with one block.seed differ; they must be identical")

    def error(self) -> None:
        """The error of the block's output is within the stated bound of nearest rounding's."""
        for fmt in FORMATS:
            block = toy_block(fmt)
            nearest = {n: quantize_weight(w, fmt, BITS[n], n) for n, w in block.weights.items()}
            ours, theirs = (_error(block, found) for found in (self._rounded(fmt), nearest))
            expect(
                ours <= self.error_bound * theirs,
                f"block, {_title(fmt)}: squared output error {ours:.4g} is {ours / theirs:.3g} "
                f"times nearest rounding's; its error_bound allows {self.error_bound:g}",
            )

    def _rounded(self, fmt: WeightFormat) -> Mapping[str, QuantizedWeight]:
        if fmt not in self._results:
            self._results[fmt] = self._round(fmt)
        return self._results[fmt]

    def _round(self, fmt: WeightFormat) -> Mapping[str, QuantizedWeight]:
        block = toy_block(fmt)
        with torch.no_grad():
            return attempt("block", "round_block", lambda: self.plugin.round_block(block, fmt))


def toy_block(fmt: WeightFormat) -> BlockData:
    """``x + down(gelu(up(x)))`` on correlated inputs of 12 channels, 8 tokens each."""
    up, down = ordinary(HIDDEN, WIDTH), ordinary(WIDTH, HIDDEN, seed=1)
    weights = {"block.up": up.weight * 10, "block.down": down.weight * 10}
    x = up.inputs.reshape(-1, TOKENS, WIDTH)

    def hidden(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(inputs @ weight.T)

    def forward(weights: Mapping[str, torch.Tensor], indices: torch.Tensor) -> torch.Tensor:
        inputs = x[indices]
        return inputs + hidden(inputs, weights["block.up"]) @ weights["block.down"].T

    middle = hidden(up.inputs, weights["block.up"])
    samples = {"block.up": up, "block.down": SampleLayer("down", down.weight, middle)}
    return BlockData(
        name="block",
        weights=weights,
        layers={
            name: replace(sample.data(True, fmt, BITS[name]), name=name)
            for name, sample in samples.items()
        },
        bits=BITS,
        targets=forward(weights, torch.arange(len(x))),
        forward=forward,
        seed=7,
    )


def _error(block: BlockData, rounded: Mapping[str, QuantizedWeight]) -> float:
    weights = {name: found.dequantize() for name, found in rounded.items()}
    output = block.forward(weights, torch.arange(len(block.targets)))
    return float((output - block.targets).double().square().sum())


def _title(fmt: WeightFormat) -> str:
    return f"{fmt.granularity} format"
