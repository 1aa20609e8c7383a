"""The study of branches: the output error of layers with each, at equal bytes.

A layer W becomes ``Q + M``, the rounded weight and a branch, exactly as in a job; the error is
``||X (W - Q - M)^T||^2 / ||X W^T||^2`` for rows X of inputs that no fit has seen.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ...contracts import QuantizedWeight
from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.precision import HIGHEST, Precision
from ...core.progress import Advance
from ...core.recipe import PluginChoice
from ...core.registry import Registry, parameters
from ...core.settings import digest_of
from ...core.sources import folder_digest
from ...core.suite import Job
from ...cost.storage import packed_bytes
from ...dit.groups import Group, linear_layer
from ...dit.loading import DiTModel
from ...dit.recordings import Recordings
from ...dit.statistics import StatisticsStore
from ...job.context import JobContext, calibrate
from ...job.resources import Resources, Session
from ...quant.build import GroupQuantizer
from ...quant.factors import bits_of_rank
from ...quant.group import PreparedGroup, PreparedLayer, RoundedLayer
from ...records.frame import frame_csv

BRANCHES = (
    *(PluginChoice(name=name) for name in ("low-rank", "monarch")),
    *(PluginChoice(name="monarch", params={"permutation": p}) for p in ("energy", "spread")),
    *(PluginChoice(name=name) for name in ("sparse", "h-svd")),
)
_SIZES = ("like_rank", "rank")  # parameters that size a branch, the first one that it has
_OTHER_SIZES = ("ratio", "grid", "density")  # instead of these, where `--branch` gives one
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
        none = Variant(NONE, NO_BRANCH, 0, False)
        for path in prepared.layers:
            yield none, prepared, path, whole(path, bits).dequantize(), 0, 0
        for variant, quantizer in self.variants:
            branched = quantizer.prepare(transformer, group, Precision(bits, None))
            for path, rounded in quantizer.round(branched).items():
                values, stored, macs = _integers(rounded).dequantize(), 0, 0
                if rounded.branch is not None:
                    values = values + rounded.branch.dense()
                    stored, macs = (
                        rounded.branch.size.stored_bits,
                        rounded.branch.size.multiplications,
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


def run_branches(plan: BranchPlan, session: Session) -> tuple[pd.DataFrame, Path]:
    """Write ``branches.csv``; return the rows of every searchable layer, and the path.

    Measured layers are read from the cache. ``ratio`` is ``error / alone``, and 1 where rounding
    alone loses nothing. Raises BenchError for a branch that takes more than its budget, names that
    are not known, and as fitting does.
    """
    context, every = JobContext.open(plan.job, session.resources), variants(plan, session.registry)
    groups = [group for group in context.groups if group.searchable]
    check_sizes(every, context.model, groups, session.registry)
    comparison = comparison_of(plan, every, session.resources)
    cache = session.resources.cache.at("branches", _fingerprint(plan, every, context))
    rows: list[Row] = []
    fits = len(plan.bits) * len(every)
    with session.reporter.stage("fitting branches", len(groups) * fits) as advance:
        for group in groups:
            known = cache.read(group.name)
            if known is None:
                known = comparison.rows(group, advance)
                cache.write(group.name, known)
            else:
                advance(fits)
            rows += known
    table = pd.DataFrame(rows)
    table["ratio"] = (table["error"] / table["alone"]).where(table["alone"] > 0, 1.0)
    path = session.store.folder / "branches.csv"
    write_atomic(path, frame_csv(table, "%.8g").encode())
    return table, path


def variants(plan: BranchPlan, registry: Registry) -> list[Variant]:
    """Return every branch at every size, fitted to weight and output where it has the choice.

    Raises BenchError for an unknown branch or parameter, and where two have one name.
    """
    names = [
        " ".join([choice.name, *(f"{key}={value}" for key, value in choice.params.items())])
        for choice in plan.branches
    ]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(f"branch '{name}' is compared with itself: name it once")
    return [
        Variant(name, sized, rank, plugin.needs_inputs)
        for rank in plan.ranks
        for name, choice in zip(names, plan.branches, strict=True)
        for sized in _choices(choice, rank, registry)
        for plugin in [registry.create("branch", sized)]
    ]


def check_sizes(
    every: Sequence[Variant], model: DiTModel, groups: Sequence[Group], registry: Registry
) -> None:
    """Raise BenchError where a branch takes more than the bytes of its rank at 8 bits."""
    paths = [path for group in groups for path in group.layers]
    for variant in every:
        branch = registry.create("branch", variant.choice)
        for path in paths:
            layer = linear_layer(model.transformer, path)
            shape = layer.out_features, layer.in_features
            size, most = branch.size(*shape), bits_of_rank(*shape, variant.rank, STORED)
            if size is not None and size.stored_bits > most:
                raise BenchError(
                    f"branch '{variant.name}' takes {packed_bytes(size.stored_bits, 1):,} bytes at "
                    f"layer {path}, more than the {packed_bytes(most, 1):,} of rank {variant.rank} "
                    f"at {STORED} bits: make it smaller"
                )


def comparison_of(plan: BranchPlan, every: Sequence[Variant], resources: Resources) -> Comparison:
    """Return what measures a group; inputs are recorded where they are not in the cache."""

    def quantizer(branch: PluginChoice) -> GroupQuantizer:
        recipe = plan.job.recipe.model_copy(update={"branch": branch})
        return calibrate(JobContext.open(replace(plan.job, recipe=recipe), resources)).quantizer()

    recordings = resources.recordings(plan.job)
    fitted = [(variant, quantizer(variant.choice)) for variant in every]
    return Comparison(plan, recordings, quantizer(NO_BRANCH), fitted)


def _choices(choice: PluginChoice, rank: int, registry: Registry) -> list[PluginChoice]:
    """Return ``choice`` of the size of ``rank``, at 8 bits and in both fits.

    Of these, parameters that the branch does not have or that ``choice`` sets are left alone.
    """
    known, added = parameters(registry.entry("branch", choice.name).load()), {}
    if choice.params.keys().isdisjoint((*_SIZES, *_OTHER_SIZES)):
        added = dict.fromkeys([name for name in _SIZES if name in known][:1], rank)
    if "bits" in known:
        added["bits"] = STORED
    both = "weighted" in known and "weighted" not in choice.params
    fits: list[dict[str, Any]] = [{"weighted": fit} for fit in (False, True)] if both else [{}]
    return [PluginChoice(name=choice.name, params=added | fit | choice.params) for fit in fits]


def _fingerprint(plan: BranchPlan, every: Sequence[Variant], context: JobContext) -> str:
    recipe, registry = plan.job.recipe, context.resources.registry
    fields = {"transform", "rounding", "weight_format", "activation_format"}
    recipes = [recipe.model_copy(update={"branch": v.choice}) for v in every]
    content: list[Any] = [folder_digest("lab/study"), context.recordings.fingerprint]
    content += [recipe.model_dump(mode="json", include=fields), plan.ranks, plan.bits]
    content += [v.choice.model_dump(mode="json") for v in every]
    return digest_of([*content, *map(registry.source_digest, recipes)])


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
    device = next(iter(prepared.layers.values())).weight.device
    return prepared.transform.input(store.group(prepared.group).inputs.to(device))
