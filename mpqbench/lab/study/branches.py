"""Branches at equal bytes over all layers of a model: what is compared, and the way through it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.recipe import PluginChoice
from ...core.registry import Registry, parameters
from ...core.settings import digest_of
from ...core.sources import folder_digest
from ...core.suite import Job
from ...cost.storage import packed_bytes
from ...dit.groups import Group, linear_layer
from ...dit.loading import DiTModel
from ...job.context import JobContext, calibrate
from ...job.resources import Resources, Session
from ...quant.build import GroupQuantizer
from ...quant.factors import bits_of_rank
from ...records.frame import frame_csv
from .branch_errors import NONE, STORED, Comparison, Row, Variant

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


@dataclass(frozen=True)
class BranchPlan:
    """What is compared: ``branches`` in the bytes of each of ``ranks``, beside weights of ``bits``.

    ``job`` has the model, the protocol of its inputs, the seed, and a recipe whose transform,
    rounding and weight format are those of every layer; its own branch is not used.
    """

    job: Job
    branches: tuple[PluginChoice, ...] = BRANCHES
    ranks: tuple[int, ...] = (2, 4, 8)
    bits: tuple[int, ...] = (3, 4)


def run_branches(plan: BranchPlan, session: Session) -> tuple[pd.DataFrame, Path]:
    """Measure every layer and write ``branches.csv``; return the table and its path.

    Raises BenchError as ``measure`` does.
    """
    table = measure(plan, session)
    path = session.store.folder / "branches.csv"
    write_atomic(path, frame_csv(table, "%.8g").encode())
    return table, path


def measure(plan: BranchPlan, session: Session) -> pd.DataFrame:
    """Return the rows of every searchable layer; measured layers are read from the cache.

    ``ratio`` is ``error / alone``, and 1 where rounding alone loses nothing. Raises BenchError for
    a branch that takes more than its budget, names that are not known, and as fitting does.
    """
    context = JobContext.open(plan.job, session.resources)
    groups = [group for group in context.groups if group.searchable]
    every = variants(plan, session.registry)
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
    """Every branch at every size, fitted to the weight and to the output where it has the choice.

    Raises BenchError for an unknown branch or parameter, and where two have one name.
    """
    names = [_name(choice) for choice in plan.branches]
    for at, name in enumerate(names):
        if name in names[:at]:
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
    """Raises BenchError where a branch takes more than the bytes of its rank at 8 bits."""
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
    """Records calibration and held-out inputs where they are not in the cache."""
    recordings = resources.recordings(plan.job)
    seen, held = recordings.statistics, recordings.held_out_statistics
    plain = _quantizer(plan.job, PluginChoice(name=NONE), resources)
    own = [(v, _quantizer(plan.job, v.choice, resources)) for v in every]
    transformer = recordings.model.transformer
    return Comparison(transformer, plain, own, seen, held, plan.ranks, plan.bits)


def _quantizer(job: Job, branch: PluginChoice, resources: Resources) -> GroupQuantizer:
    """What a job whose recipe has ``branch`` quantizes its layers with."""
    recipe = job.recipe.model_copy(update={"branch": branch})
    return calibrate(JobContext.open(replace(job, recipe=recipe), resources)).quantizer()


def _choices(choice: PluginChoice, rank: int, registry: Registry) -> list[PluginChoice]:
    """``choice`` with the size of ``rank``, 8 bits and both fits, where it has the parameters and
    does not set them itself."""
    known, added = parameters(registry.entry("branch", choice.name).load()), {}
    size = next((name for name in _SIZES if name in known), None)
    if size is not None and not any(name in choice.params for name in (*_SIZES, *_OTHER_SIZES)):
        added[size] = rank
    if "bits" in known:
        added["bits"] = STORED
    fits = [{"weighted": False}, {"weighted": True}] if "weighted" in known else [{}]
    if "weighted" in choice.params:
        fits = [{}]
    return [PluginChoice(name=choice.name, params=added | fit | choice.params) for fit in fits]


def _name(choice: PluginChoice) -> str:
    """``monarch permutation=energy``."""
    return " ".join([choice.name, *(f"{key}={value}" for key, value in choice.params.items())])


def _fingerprint(plan: BranchPlan, every: Sequence[Variant], context: JobContext) -> str:
    """Digest of everything a row depends on."""
    recipe, registry = plan.job.recipe, context.resources.registry
    recipes = [recipe.model_copy(update={"branch": v.choice}) for v in every]
    return digest_of(
        {
            "study": folder_digest("lab/study"),
            "inputs": context.recordings.fingerprint,
            "recipe": recipe.model_dump(
                mode="json", include={"transform", "rounding", "weight_format", "activation_format"}
            ),
            "branches": [v.choice.model_dump(mode="json") for v in every],
            "sources": [registry.source_digest(recipe) for recipe in recipes],
            "ranks": plan.ranks,
            "bits": plan.bits,
        }
    )
