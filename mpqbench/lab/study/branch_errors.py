"""The output error of layers with branches, and with more bits for the same bytes.

A layer W becomes ``Q + M``, the rounded weight and a branch, exactly as in a job; the error is
 ``||X (W - Q - M)^T||^2 / ||X W^T||^2`` for rows X of inputs that no fit has seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from ...contracts import QuantizedWeight
from ...core.errors import BenchError
from ...core.precision import HIGHEST, Precision
from ...core.progress import Advance
from ...core.recipe import PluginChoice
from ...cost.storage import packed_bytes
from ...dit.groups import Group
from ...dit.statistics import StatisticsStore
from ...quant.build import GroupQuantizer
from ...quant.factors import bits_of_rank
from ...quant.group import PreparedGroup, PreparedLayer, RoundedLayer

STORED = 8  # bits of what a branch stores, where its plugin leaves the choice
NONE, MORE_BITS = "none", "rows at more bits"


@dataclass(frozen=True)
class Variant:
    """A branch at one size; ``weighted`` where it is fitted to inputs."""

    name: str
    choice: PluginChoice
    rank: int
    weighted: bool


@dataclass(frozen=True)
class Row:
    """One layer with one branch, or with what its bytes would buy.

    ``error`` and ``alone``, that without a branch, are relative to the output's squares; ``bytes``
    is what the branch stores and ``macs`` its multiplications for one row of input. ``rank`` is 0
    where there is no branch.
    """

    layer: str
    kind: str
    out: int
    width: int
    bits: int
    rank: int
    branch: str
    weighted: bool
    error: float
    alone: float
    bytes: int
    macs: int

    @property
    def ratio(self) -> float:
        """``error / alone``; 1 where rounding alone loses nothing, so that nothing is added."""
        return self.error / self.alone if self.alone else 1.0


@dataclass(frozen=True)
class Alone:
    """A layer rounded without a branch, the ``group`` it belongs to, and its row."""

    group: PreparedGroup
    layer: PreparedLayer
    rounded: QuantizedWeight
    row: Row


@dataclass(frozen=True)
class Comparison:
    """Measures layers at weights of ``bits``.

    ``plain`` quantizes without a branch, ``variants`` with each. Fits see the inputs of ``seen``;
    errors are those on ``held_out``. The bytes of ``ranks`` at 8 bits go to more weight bits.
    """

    transformer: nn.Module
    plain: GroupQuantizer
    variants: Sequence[tuple[Variant, GroupQuantizer]]
    seen: StatisticsStore
    held_out: StatisticsStore
    ranks: Sequence[int]
    bits: Sequence[int]
    _rounded: dict[int, Mapping[str, Alone]] = field(default_factory=dict)  # by bits, of one group

    @torch.no_grad()
    def rows(self, group: Group, advance: Advance = lambda _fits: None) -> list[Row]:
        """Measure the layers of ``group`` without a branch, with each, and with more bits.

        ``advance`` is called with 1 after each branch.
        """
        self._rounded.clear()
        found: list[Row] = []
        for bits in self.bits:
            found += [own.row for own in self._alone(group, bits).values()]
            for variant, quantizer in self.variants:
                found += self._branched(group, bits, variant, quantizer)
                advance(1)
            found += self._with_more_bits(group, bits)
        return found

    def _branched(
        self, group: Group, bits: int, variant: Variant, quantizer: GroupQuantizer
    ) -> list[Row]:
        found = []
        prepared = quantizer.prepare(self.transformer, group, Precision(bits, None))
        for path, rounded in quantizer.round(prepared).items():
            combined, stored, macs = _values(rounded), 0, 0
            if rounded.branch is not None:
                size = rounded.branch.size
                combined = combined + rounded.branch.dense()
                stored, macs = packed_bytes(size.stored_bits, 1), size.macs_per_token
            found.append(
                replace(
                    self._alone(group, bits)[path].row,
                    rank=variant.rank,
                    branch=variant.name,
                    weighted=variant.weighted,
                    error=self._error(prepared, path, combined),
                    bytes=stored,
                    macs=macs,
                )
            )
        return found

    def _with_more_bits(self, group: Group, bits: int) -> list[Row]:
        found = []
        for path, own in self._alone(group, bits).items():
            inputs = _inputs(self.seen, own.group)
            at = partial(self._whole, group, path)
            for rank in self.ranks:
                room = bits_of_rank(own.row.out, own.row.width, rank, STORED)
                for rows in (None, inputs):
                    values, spent = spend_on_rows(own.layer, at, bits, room, rows)
                    error, taken = self._error(own.group, path, values), packed_bytes(spent, 1)
                    found.append(
                        replace(
                            own.row, rank=rank, branch=MORE_BITS, weighted=rows is not None,
                            error=error, bytes=taken,
                        )
                    )  # fmt: skip
        return found

    def _alone(self, group: Group, bits: int) -> Mapping[str, Alone]:
        """Return the layers of ``group`` by path, rounded without a branch."""
        if bits not in self._rounded:
            prepared = self.plain.prepare(self.transformer, group, Precision(bits, None))
            rounded = self.plain.round(prepared)
            self._rounded[bits] = {
                path: self._plain(prepared, path, own) for path, own in rounded.items()
            }
        return self._rounded[bits]

    def _plain(self, prepared: PreparedGroup, path: str, rounded: RoundedLayer) -> Alone:
        layer, bits, integers = prepared.layers[path], prepared.precision.weight, rounded.integers
        assert bits is not None
        assert integers is not None
        error, (out, width) = self._error(prepared, path, _values(rounded)), layer.weight.shape
        kind = prepared.group.kind
        row = Row(path, kind, out, width, bits, 0, NONE, False, error, error, 0, 0)
        return Alone(prepared, layer, integers, row)

    def _whole(self, group: Group, path: str, bits: int) -> QuantizedWeight:
        return self._alone(group, bits)[path].rounded

    def _error(self, prepared: PreparedGroup, path: str, values: torch.Tensor) -> float:
        inputs = _inputs(self.held_out, prepared)
        return output_error(inputs, prepared.layers[path].weight, values, path)


def output_error(
    inputs: torch.Tensor, weight: torch.Tensor, values: torch.Tensor, name: str
) -> float:
    """Return ``||X (W - V)^T||^2 / ||X W^T||^2`` of inputs X (n, in), matrices W, V (out, in).

    Products in the type of X, squares and sums in float64. Raises BenchError where X W^T is zero or
    an error is not a finite number.
    """
    lost, whole = (
        float(torch.linalg.vector_norm(inputs @ matrix.T, dtype=torch.float64).square())
        for matrix in (weight - values, weight)
    )
    if not whole > 0 or not math.isfinite(lost):
        raise BenchError(f"layer {name}: its output error on held-out inputs is {lost} of {whole}")
    return lost / whole


def spend_on_rows(
    layer: PreparedLayer,
    rounded: Callable[[int], QuantizedWeight],
    bits: int,
    room: int,
    inputs: torch.Tensor | None,
) -> tuple[torch.Tensor, int]:
    """Spend ``room`` bits as weight bits: as many rows as they pay for, at one bit more.

    ``rounded`` gives the whole weight at any number of bits. Rows are those whose squared error
    falls most, that of the output on ``inputs`` (n, in) where there are any. One bit for each row
    tells which they are. Where there is room for all rows, all take a bit and the rest of the room
    goes to the next one. Returns the weight (out, in) on its grids and the bits spent.
    """
    weight, fmt = layer.weight, layer.data.weight_format
    out, width = weight.shape
    grids = 0 if fmt.symmetric else rounded(bits).zero.shape[1]  # zero points have as many bits
    price = width + grids
    every, rows = divmod(max(room - out, 0) // price, out)
    if bits + every >= HIGHEST:
        every, rows = HIGHEST - bits, 0
    values = rounded(bits + every).dequantize()
    if rows:
        finer = rounded(bits + every + 1).dequantize()
        gain = _row_errors(weight - values, inputs) - _row_errors(weight - finer, inputs)
        chosen = gain.argsort(descending=True, stable=True)[:rows]
        values[chosen] = finer[chosen]
    return values, price * (every * out + rows) + (out if rows else 0)


def _row_errors(difference: torch.Tensor, inputs: torch.Tensor | None) -> torch.Tensor:
    """Return squares by row (out,) of a difference (out, in), or of its product with inputs."""
    rows = difference if inputs is None else (inputs @ difference.T).T
    return rows.double().square().sum(1)


def _values(rounded: RoundedLayer) -> torch.Tensor:
    """Return the rounded weight (out, in) in float32."""
    assert rounded.integers is not None
    return rounded.integers.dequantize()


def _inputs(store: StatisticsStore, prepared: PreparedGroup) -> torch.Tensor:
    """Return rows (n, in) of the input of a group, in its basis."""
    device = next(iter(prepared.layers.values())).weight.device
    return prepared.transform.input(store.group(prepared.group).inputs.to(device))
