"""Verification of a run: everything in its records that can be recomputed, recomputed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import BenchError
from ..core.precision import Allocation, Budget
from ..core.protocol import Protocol
from ..core.recipe import Recipe
from ..core.settings import validate
from ..cost.count import CostReport, CountOptions, budget_limit, count
from ..dit.groups import layer_groups
from ..dit.loading import skeleton
from ..job.loading import Loader
from ..job.samples import SampleStore
from ..job.stages import distribution_of, fidelity, summary_of
from ..records.schema import Costs, JobRecord, Metric, Score
from ..records.store import RecordStore, read_object, read_record

SAME = 1e-3  # relative: other processors change the last digits of features, edits more than that


@dataclass(frozen=True)
class Verification:
    """What was found out about the record of ``job``.

    ``faults`` are sentences, none if all is well; ``unknown`` are sentences on what could not be
    recomputed.
    """

    job: str
    faults: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass
class _Findings:
    faults: list[str]
    unknown: list[str]

    def compare(self, name: str, told: float | None, found: float, tolerance: float = 0) -> None:
        """Note where the record tells another number than was found."""
        if told is None or not math.isclose(told, found, rel_tol=tolerance):
            self.faults.append(f"{name} is {found:.6g}, the record says {told}")


def verify_run(
    store: RecordStore, loader: Loader, *, scores: bool = True
) -> Iterator[Verification]:
    """Yield what is found out about each record of ``store``; raise nothing for damaged files.

    Recomputed are the checksum of the record, the digests of the files beside it, its costs from
    the allocation, whether the budget is kept, and, with ``scores``, the scores from kept samples.
    """
    paths, records = store.paths(), {}
    if not paths:
        raise BenchError(
            f"{store.folder} has no records: give the folder of a run, with records/ in it"
        )
    for path in paths:
        try:
            records[path.stem] = read_record(path)
        except BenchError as error:
            yield Verification(path.stem, (str(error),))
    for job, record in records.items():
        found = _Findings(store.damage(record), [])
        if "checksum" not in read_object(store.record_path(job)):
            found.unknown.append("the record has no checksum")
        if record.status == "done":
            _check_costs(record, store, loader, found)
        if scores and record.status == "done" and not found.faults:
            _check_scores(record, list(records.values()), store, loader, found)
        yield Verification(job, tuple(found.faults), tuple(found.unknown))


def _check_costs(record: JobRecord, store: RecordStore, loader: Loader, found: _Findings) -> None:
    """Recompute the costs of the allocation, and whether it keeps the budget."""
    costs, protocol = record.costs, validate(Protocol, record.protocol, record.job)
    assert costs is not None  # of a job that is done
    found.compare("effective_bits", costs.effective_bits, 8 * costs.bytes / costs.parameters, SAME)
    if costs.bitops_per_image not in (costs.bitops * protocol.steps * k for k in (1, 2)):
        found.faults.append("bitops_per_image is not bitops times the sampling steps")
    path = store.allocation_path(record.job)
    if not path.is_file():
        found.unknown.append("the allocation was not kept")
        return
    if any(fault.startswith(str(path)) for fault in found.faults):
        return
    try:
        report = _counted(record, protocol, store, loader)
    except BenchError as error:
        found.unknown.append(f"costs: {error}")
        return
    found.compare("bitops_linear", costs.bitops_linear, report.bitops_linear)
    found.compare("parameters", costs.parameters, report.parameters)
    allocation = Allocation.from_json(store.read_allocation(record.job))
    told, summary = record.allocation, summary_of(allocation, report)
    if told is None or told.counts != summary.counts:
        found.faults.append("the allocation is not the one that the record counts")
    if (satisfied := _satisfied(record, costs, report)) != costs.satisfied:
        found.faults.append(
            f"the budget {record.budget} is {'' if satisfied else 'not '}kept, the record says "
            f"{'it is' if costs.satisfied else 'it is not'}"
        )


def _counted(
    record: JobRecord, protocol: Protocol, store: RecordStore, loader: Loader
) -> CostReport:
    """Count the layers of the model under the kept allocation, without a plugin's additions."""
    recipe = validate(Recipe, record.recipe, record.job)
    transformer = skeleton(loader.model(record.model, protocol).transformer.config)
    allocation = Allocation.from_json(store.read_allocation(record.job))
    formats = recipe.weight_format, recipe.activation_format, recipe.attention_bits
    return count(transformer, layer_groups(transformer), allocation, CountOptions(*formats))


def _satisfied(record: JobRecord, costs: Costs, report: CostReport) -> bool:
    """Return whether the costs keep the budget, with branches where the recipe counts them."""
    budget, bitops, size = Budget.parse(record.budget), costs.bitops_linear, costs.bytes
    if record.recipe.get("branch_in_budget", True):
        bitops += costs.branch_bitops
    else:
        size -= costs.branch_bytes
    limit = budget_limit(sum(op.macs for op in report.searchable), budget)
    within = (limit is None or bitops <= limit) and size <= budget.bytes
    return within and (budget.weight_bits is None or report.weight_bits <= budget.weight_bits)


def _check_scores(
    record: JobRecord, records: Sequence[JobRecord], store: RecordStore, loader: Loader,
    found: _Findings,
) -> None:  # fmt: skip
    """Recompute the scores of kept samples; those of pairs if full precision kept its own."""
    if not store.has_samples(record.job):
        found.unknown.append("the samples were not kept")
        return
    protocol = validate(Protocol, record.protocol, record.job)
    samples = _samples(record, store)
    try:
        evaluator = loader.evaluator(protocol)
        scores: Mapping[Metric, Score] = {}
        if evaluator is not None:
            scores = distribution_of(samples, evaluator, record.n_images, lambda done: None)
        partner = _reference(record, records)
        if partner is not None and store.has_samples(partner.job):
            scores = {**scores, **fidelity(samples, _samples(partner, store), record.n_images)}
    except BenchError as error:
        found.unknown.append(f"scores: {error}")
        return
    for name, score in scores.items():
        if name in record.scores:
            found.compare(name, record.scores[name].value, score.value, SAME)


def _samples(record: JobRecord, store: RecordStore) -> SampleStore:
    return SampleStore(store.samples_path(record.job), record.fingerprint, 1)


def _reference(record: JobRecord, records: Sequence[JobRecord]) -> JobRecord | None:
    """Return the record of full precision that ``record`` is paired with, if it has one."""
    condition = record.model, record.seed, record.protocol
    partners = (r for r in records if r.is_full_precision and r.status == "done")
    found = next((r for r in partners if (r.model, r.seed, r.protocol) == condition), None)
    return None if record.is_full_precision else found
