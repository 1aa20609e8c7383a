"""Branches at equal bytes over all layers of a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ... import __version__
from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.progress import Reporter
from ...core.recipe import Job, PluginChoice, digest_of
from ...core.registry import Registry, parameters
from ...cost.storage import packed_bytes
from ...dit.groups import Group, layer_groups, linear_layer
from ...dit.loading import DiTModel
from ...dit.statistics import StatisticsStore
from ...job.resources import Resources
from ...job.stages import calibrate, group_quantizer
from ...quant.build import GroupQuantizer
from ...quant.factors import bits_of_rank
from ...report.branches import branch_figure, branch_markdown
from ...report.style import save
from .branch_errors import NONE, STORED, Comparison, Row, Variant
from .jobs import Session

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
    """What is compared: ``branches`` in the bytes of each of ``ranks``, with weights of ``bits``.

    ``job`` has the model, the protocol of its inputs, the seed, and a recipe whose transform,
    rounding and weight format are those of every layer; its own branch is not used.
    """

    job: Job
    branches: tuple[PluginChoice, ...] = BRANCHES
    ranks: tuple[int, ...] = (2, 4, 8)
    bits: tuple[int, ...] = (3, 4)


def run_branches(plan: BranchPlan, session: Session) -> list[Path]:
    """Measure every layer and write ``branches.csv``, ``branches.md`` and a figure.

    Returns their paths. Raises BenchError as ``measure`` does.
    """
    import pandas as pd

    rows = measure(plan, session)
    table = pd.DataFrame([asdict(row) | {"ratio": row.ratio} for row in rows])
    folder, job = session.store.folder, plan.job
    texts = {
        "branches.csv": table.to_csv(index=False, float_format="%.8g", lineterminator="\n"),
        "branches.md": branch_markdown(table, job),
    }
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())
    figure = branch_figure(table)
    return [*(folder / name for name in texts), *save(figure, folder / "figures" / "branches")]


def measure(plan: BranchPlan, session: Session) -> list[Row]:
    """Return the rows of every searchable layer; layers measured before are read from disk.

    Raises BenchError for a branch that takes more than its budget, names that are not known, and
    whatever fitting raises.
    """
    resources, reporter, job = session.resources, session.reporter, plan.job
    model = resources.model(job.model, job.protocol)
    groups = [group for group in layer_groups(model.transformer) if group.searchable]
    every = variants(plan, session.registry)
    check_sizes(every, model, groups, session.registry)
    comparison = comparison_of(plan, every, model, resources, reporter)
    folder = session.store.folder / "layers" / _mark(plan, every, model, resources)
    rows: list[Row] = []
    work = len(groups) * len(plan.bits) * len(every)
    with reporter.stage("fitting branches", work) as advance:
        for group in groups:
            path = folder / f"{group.name}.json"
            if path.is_file():
                rows += [Row(**values) for values in json.loads(path.read_bytes())]
                advance(work // len(groups))
                continue
            own = comparison.rows(group, advance)
            write_atomic(path, json.dumps([asdict(row) for row in own]).encode())
            rows += own
    return rows


def variants(plan: BranchPlan, registry: Registry) -> list[Variant]:
    """Return every branch at every size, fitted to the weight and, where possible, to the output.

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


def comparison_of(
    plan: BranchPlan,
    every: Sequence[Variant],
    model: DiTModel,
    resources: Resources,
    reporter: Reporter,
) -> Comparison:
    """Record calibration and held-out inputs where they are not on disk."""
    job = plan.job
    seen = resources.statistics(model, job.protocol, job.seed, reporter)
    held = held_out_statistics(model, job, resources, reporter)
    plain = _quantizer(job, PluginChoice(name=NONE), model, resources, reporter)
    own = [(v, _quantizer(job, v.choice, model, resources, reporter)) for v in every]
    return Comparison(model.transformer, plain, own, seen, held, plan.ranks, plan.bits)


def held_out_statistics(
    model: DiTModel, job: Job, resources: Resources, reporter: Reporter
) -> StatisticsStore:
    """Return what every layer reads on the held-out inputs of the job's protocol and seed."""
    held = resources.held_out(model, job.protocol, job.seed, reporter)
    mark = resources.statistics_mark(model, job.protocol, job.seed)
    store = StatisticsStore(resources.calibration_folder() / mark / "held-out")
    if not store.complete():
        transformer, batch = model.transformer, job.protocol.micro_batch
        title = "gathering held-out inputs"
        with reporter.stage(title, len(transformer.transformer_blocks)) as advance:
            store.gather(transformer, held.inputs, batch, resources.device, advance)
    return store


def _quantizer(
    job: Job, branch: PluginChoice, model: DiTModel, resources: Resources, reporter: Reporter
) -> GroupQuantizer:
    """Return the quantizer of a job whose recipe has ``branch``."""
    recipe = job.recipe.model_copy(update={"branch": branch})
    own = replace(job, recipe=recipe)
    calibration = calibrate(own, model, layer_groups(model.transformer), resources, reporter)
    return group_quantizer(own, calibration, resources)


def _choices(choice: PluginChoice, rank: int, registry: Registry) -> list[PluginChoice]:
    """Return ``choice`` with the size of ``rank``, 8 bits and both fits.

    A parameter that the branch lacks, or that ``choice`` sets itself, is left alone.
    """
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


def _mark(plan: BranchPlan, every: Sequence[Variant], model: DiTModel, resources: Resources) -> str:
    """Digest of everything a row depends on."""
    job, registry = plan.job, resources.registry
    recipes = [job.recipe.model_copy(update={"branch": v.choice}) for v in every]
    return digest_of(
        {
            "version": __version__,
            "inputs": resources.statistics_mark(model, job.protocol, job.seed),
            "recipe": job.recipe.model_dump(
                mode="json",
                include={"transform", "rounding", "weight_format", "activation_format"},
            ),
            "branches": [v.choice.model_dump(mode="json") for v in every],
            "plugins": [registry.source_digest(recipe) for recipe in recipes],
            "ranks": plan.ranks,
            "bits": plan.bits,
        }
    )
