"""The study of branches: all at equal bytes, over all layers of a model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.recipe import PluginChoice
from ...core.registry import Registry, parameters
from ...core.settings import digest_of
from ...core.sources import folder_digest
from ...cost.storage import packed_bytes
from ...dit.groups import Group, linear_layer
from ...dit.loading import DiTModel
from ...job.context import JobContext, calibrate
from ...job.resources import Resources, Session
from ...quant.build import GroupQuantizer
from ...quant.factors import bits_of_rank
from ...records.frame import frame_csv
from .branch_errors import NO_BRANCH, STORED, BranchPlan, Comparison, Row, Variant

BRANCHES = (
    PluginChoice(name="low-rank"),
    PluginChoice(name="monarch"),
    PluginChoice(name="monarch", params={"permutation": "energy"}),
    PluginChoice(name="monarch", params={"permutation": "spread"}),
    PluginChoice(name="sparse"),
    PluginChoice(name="h-svd"),
)
_SIZES = ("like_rank", "rank")  # parameters that size a branch, the first one that it has
_OTHER_SIZES = ("ratio", "grid", "density")  # instead of these, where `--branch` gives one


def run_branches(plan: BranchPlan, session: Session) -> tuple[pd.DataFrame, Path]:
    """Write ``branches.csv``; return the table and its path. Raises as ``measure``."""
    table, path = measure(plan, session), session.store.folder / "branches.csv"
    write_atomic(path, frame_csv(table, "%.8g").encode())
    return table, path


def measure(plan: BranchPlan, session: Session) -> pd.DataFrame:
    """Return the rows of every searchable layer; measured layers are read from the cache.

    ``ratio`` is ``error / alone``, and 1 where rounding alone loses nothing. Raises BenchError for
    a branch that takes more than its budget, names that are not known, and as fitting does.
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
    return table


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
