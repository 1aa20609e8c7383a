"""Records of an older cost rule, counted again from their allocations by the rule of today."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..core.errors import BenchError
from ..core.precision import Allocation, Budget
from ..core.protocol import Protocol
from ..core.recipe import Recipe
from ..core.registry import Registry
from ..core.settings import validate
from ..cost.count import CostReport, budget_limit
from ..cost.overhead import COST_RULE
from ..dit.groups import layer_groups
from ..dit.loading import skeleton
from ..job.context import Plugins
from ..job.costing import CountTerms, planned_report, told_allocation
from ..job.loading import Loader
from ..job.stages import record_costs
from ..records.schema import Costs, FormerCosts, JobRecord
from ..records.store import RecordStore

FIRST_RULE = "macs"  # of records that name none: linears, transforms and branches by their MACs


@dataclass(frozen=True)
class Recount:
    """What became of the record of ``job``: ``reason`` says why it was left, "" if it was not."""

    job: str
    reason: str = ""


def recount_run(store: RecordStore, loader: Loader, registry: Registry) -> Iterator[Recount]:
    """Count the costs of every record of ``store`` again, and write those that change.

    Scores, samples and the fingerprint stay; a record keeps what the older rule counted. Raises
    BenchError for a folder without records, before anything is written.
    """
    records = store.read_all()
    if not records:
        raise BenchError(
            f"{store.folder} has no records: give the folder of a run, with records/ in it"
        )
    for record in records:
        if record.costs is None:
            yield Recount(record.job, "the job has no costs")
        elif record.costs.cost_rule == COST_RULE:
            yield Recount(record.job, "the record is of today's rule")
        else:
            try:
                costs = _again(record, record.costs, store, loader, registry)
            except BenchError as error:
                yield Recount(record.job, str(error))
            else:
                store.write(record.model_copy(update={"costs": costs}))
                yield Recount(record.job)


def counted(
    record: JobRecord, store: RecordStore, loader: Loader, registry: Registry
) -> tuple[Allocation, CostReport, bool]:
    """Return a record's allocation, its cost by today's rule, and whether the budget is kept.

    Raises BenchError where the allocation, the model or a plugin is missing.
    """
    if record.costs is None or record.allocation is None:
        raise BenchError("the record has no costs or no allocation")
    recipe = validate(Recipe, record.recipe, record.job)
    protocol = validate(Protocol, record.protocol, record.job)
    transformer = skeleton(loader.model(record.model, protocol).transformer)
    groups, path = layer_groups(transformer), store.allocation_path(record.job)
    kept = store.read_allocation(record.job) if path.is_file() else None
    allocation = told_allocation(record.allocation.counts, recipe, groups, kept)
    plugins = Plugins.of(recipe, registry)
    terms = CountTerms(protocol.steps)
    report = planned_report(recipe, plugins, transformer, allocation, terms)
    costs, budget = record.costs, Budget.parse(record.budget)
    passes = round(costs.bitops_per_image / (max(1, costs.bitops) * protocol.steps))
    limit = budget_limit(transformer, groups, budget)
    satisfied = report.satisfied(budget, limit, recipe.branch_in_budget)
    return allocation, replace(report, guidance_passes=passes), satisfied


def _again(
    record: JobRecord, costs: Costs, store: RecordStore, loader: Loader, registry: Registry
) -> Costs:
    _, report, satisfied = counted(record, store, loader, registry)
    if report.bitops_linear != costs.bitops_linear or report.parameters != costs.parameters:
        raise BenchError(
            f"the allocation comes to {report.bitops_linear:,} BitOPs of linear layers, and the "
            f"record has {costs.bitops_linear:,}"
        )
    former = FormerCosts(
        rule=costs.cost_rule or FIRST_RULE,
        bitops=costs.bitops,
        bitops_per_image=costs.bitops_per_image,
    )
    counts = record_costs(report, satisfied)
    # Bytes were measured on the model itself, which may have left branches out.
    measured = {"bytes": costs.bytes, "effective_bits": costs.effective_bits, "before": former}
    return counts.model_copy(update=measured)
