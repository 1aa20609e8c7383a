"""The output error of layers with branches, and with more bits for the same bytes.

A layer W becomes ``Q + M``, the rounded weight and a branch, exactly as in a job; the error is
``||X (W - Q - M)^T||^2 / ||X W^T||^2`` for rows X of inputs that no fit has seen.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any

import torch

from ...contracts import QuantizedWeight
from ...core.errors import BenchError
from ...core.precision import HIGHEST, Precision
from ...core.progress import Advance
from ...core.recipe import PluginChoice
from ...core.suite import Job
from ...cost.storage import packed_bytes
from ...dit.groups import Group
from ...dit.recordings import Recordings
from ...dit.statistics import StatisticsStore
from ...quant.build import GroupQuantizer
from ...quant.factors import bits_of_rank
from ...quant.group import PreparedGroup, PreparedLayer, RoundedLayer

STORED = 8  # bits of what a branch stores, where its plugin leaves the choice
NONE, MORE_BITS = "none", "rows at more bits"
NO_BRANCH = PluginChoice(name=NONE)

Row = dict[str, Any]  # columns of ``Comparison.rows``
Whole = Callable[[int], QuantizedWeight]  # a layer's weight at any number of bits


@dataclass(frozen=True)
class Variant:
    """A branch at one size; ``weighted`` where it is fitted to inputs."""

    name: str
    choice: PluginChoice
    rank: int
    weighted: bool


# Of a layer: what is added, its group, its path, its weight, bits stored and multiplications.
Case = tuple[Variant, PreparedGroup, str, torch.Tensor, int, int]


@dataclass(frozen=True)
class BranchPlan:
    """What is compared: ``branches`` in the bytes of each of ``ranks``, beside weights of ``bits``.

    ``job`` has the model, the protocol of its inputs, the seed, and a recipe whose transform,
    rounding and weight format are those of every layer; its own branch is not used.
    """

    job: Job
    branches: tuple[PluginChoice, ...]
    ranks: tuple[int, ...]
    bits: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """Measures the layers of a model: ``plain`` quantizes without a branch, ``variants`` with each.

    Fits see calibration inputs; errors are those on the held-out ones of ``recordings``. The bytes
    of the plan's ranks at 8 bits go to more weight bits.
    """

    plan: BranchPlan
    recordings: Recordings
    plain: GroupQuantizer
    variants: Sequence[tuple[Variant, GroupQuantizer]]

    @torch.no_grad()
    def rows(self, group: Group, advance: Advance) -> list[Row]:
        """Measure the layers of ``group`` without a branch, with each, and with more bits.

        Of a row, ``error`` and ``alone``, that without a branch, are relative to the squares of the
        output. ``bytes`` is what the branch stores, or what its bytes buy takes; ``macs`` are its
        multiplications for one row of input. ``rank`` is 0 where there is no branch. ``advance`` is
        called with 1 after each branch.
        """
        found: list[Row] = []
        for bits in self.plan.bits:
            alone: dict[str, float] = {}
            for variant, prepared, path, values, stored, macs in self._cases(group, bits, advance):
                error = self._error(prepared, path, values)
                out, width = values.shape
                found.append({
                    "layer": path, "kind": group.kind, "out": out, "width": width, "bits": bits,
                    "rank": variant.rank, "branch": variant.name, "weighted": variant.weighted,
                    "error": error, "alone": alone.setdefault(path, error),  # first: no branch
                    "bytes": packed_bytes(stored, 1), "macs": macs,
                })  # fmt: skip
        return found

    def _cases(self, group: Group, bits: int, advance: Advance) -> Iterator[Case]:
        transformer = self.recordings.model.transformer

        @cache
        def plain(bits: int) -> tuple[PreparedGroup, Mapping[str, RoundedLayer]]:
            prepared = self.plain.prepare(transformer, group, Precision(bits, None))
            return prepared, self.plain.round(prepared)

        def whole(path: str, bits: int) -> QuantizedWeight:
            return _integers(plain(bits)[1][path])

        prepared, _ = plain(bits)
        for path in prepared.layers:
            yield (
                Variant(NONE, NO_BRANCH, 0, False),
                prepared,
                path,
                whole(path, bits).dequantize(),
                0,
                0,
            )
        for variant, quantizer in self.variants:
            branched = quantizer.prepare(transformer, group, Precision(bits, None))
            for path, rounded in quantizer.round(branched).items():
                values, stored, macs = _integers(rounded).dequantize(), 0, 0
                if rounded.branch is not None:
                    values = values + rounded.branch.dense()
                    stored, macs = (
                        rounded.branch.size.stored_bits,
                        rounded.branch.size.macs_per_token,
                    )
                yield variant, branched, path, values, stored, macs
            advance(1)
        seen = _inputs(self.recordings.statistics, prepared)
        for (path, layer), rank in product(prepared.layers.items(), self.plan.ranks):
            room = bits_of_rank(layer.data.out_features, layer.data.in_features, rank, STORED)
            for inputs in (None, seen):
                values, spent = spend_on_rows(layer, partial(whole, path), bits, room, inputs)
                bought = Variant(MORE_BITS, NO_BRANCH, rank, weighted=inputs is not None)
                yield bought, prepared, path, values, spent, 0

    def _error(self, prepared: PreparedGroup, path: str, values: torch.Tensor) -> float:
        """Return ``||X (W - V)^T||^2 / ||X W^T||^2`` of held-out inputs X and values V (out, in).

        Products in the type of X, squares and sums in float64. Raises BenchError where X W^T is
        zero or the error is not a finite number.
        """
        inputs, weight = (
            _inputs(self.recordings.held_out_statistics, prepared),
            prepared.layers[path].weight,
        )
        lost, full = (
            float(torch.linalg.vector_norm(inputs @ matrix.T, dtype=torch.float64).square())
            for matrix in (weight - values, weight)
        )
        if not full > 0 or not math.isfinite(lost):
            raise BenchError(f"layer {path}: its error on held-out inputs is {lost} of {full}")
        return lost / full


def spend_on_rows(
    layer: PreparedLayer, rounded: Whole, bits: int, room: int, inputs: torch.Tensor | None
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


def _integers(rounded: RoundedLayer) -> QuantizedWeight:
    assert rounded.integers is not None  # a weight of some bits
    return rounded.integers


def _inputs(store: StatisticsStore, prepared: PreparedGroup) -> torch.Tensor:
    """Return rows (n, in) of the input of a group, in its basis."""
    device = next(iter(prepared.layers.values())).weight.device
    return prepared.transform.input(store.group(prepared.group).inputs.to(device))
