"""Verification of a run: everything in its records that can be recomputed, recomputed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ..core.errors import BenchError
from ..core.protocol import Protocol
from ..core.registry import Registry
from ..core.settings import validate
from ..job.features import FeatureFiles
from ..job.loading import Loader
from ..job.samples import SampleStore, fingerprint_of
from ..job.stages import clip_score_of, distribution_of, fidelity, summary_of
from ..records.schema import JobRecord, Metric, Score
from ..records.store import RecordStore, read_object, read_record
from .recount import counted

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


class _Means(NamedTuple):
    """What is computed with; ``from_images``: features are computed even where they are kept."""

    loader: Loader
    registry: Registry
    from_images: bool


@dataclass
class _Findings:
    faults: list[str]
    unknown: list[str]

    def compare(self, name: str, told: float | None, found: float, tolerance: float = 0) -> None:
        """Note where the record tells another number than was found."""
        if told is None or not math.isclose(told, found, rel_tol=tolerance):
            self.faults.append(f"{name} is {found:.6g}, the record says {told}")


def verify_run(
    store: RecordStore, loader: Loader, registry: Registry, *, scores: bool = True,
    from_images: bool = False,
) -> Iterator[Verification]:  # fmt: skip
    """Yield what is found out about each record of ``store``; raise nothing for damaged files.

    Recomputed are the checksum of the record, the digests of the files beside it, its costs from
    the allocation, whether the budget is kept, and, with ``scores``, the scores from kept samples.
    Features that are kept beside them and whole are used unless ``from_images`` is true.
    """
    paths, records = store.paths(), {}
    means = _Means(loader, registry, from_images)
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
            _check_costs(record, store, means, found)
        if scores and record.status == "done" and not found.faults:
            _check_scores(record, list(records.values()), store, means, found)
        yield Verification(job, tuple(found.faults), tuple(found.unknown))


def _check_costs(record: JobRecord, store: RecordStore, means: _Means, found: _Findings) -> None:
    """Recompute the costs of the allocation, and whether it keeps the budget."""
    costs, protocol = record.costs, validate(Protocol, record.protocol, record.job)
    assert costs is not None  # of a job that is done
    found.compare(
        "effective_bits", costs.effective_bits, 8 * costs.bytes / max(1, costs.parameters), SAME
    )
    if costs.bitops_per_image not in (costs.bitops * protocol.steps * k for k in (1, 2)):
        found.faults.append("bitops_per_image is not bitops times the sampling steps")
    if any(fault.startswith(str(store.allocation_path(record.job))) for fault in found.faults):
        return
    try:
        allocation, report, satisfied = counted(record, store, means.loader, means.registry)
    except BenchError as error:
        found.unknown.append(f"costs: {error}")
        return
    names = ["bitops_linear", "parameters"]
    if costs.cost_rule == report.cost_rule:
        names += ["bitops", "branch_bitops", "macs"]
        if costs.overhead != report.overhead:
            found.faults.append(f"the overhead is {report.overhead}, not {costs.overhead}")
    else:
        found.unknown.append(
            "BitOPs in total: they were counted by an older rule (mpqbench recount)"
        )
    for name in names:
        found.compare(name, getattr(costs, name), getattr(report, name))
    told, summary = record.allocation, summary_of(allocation, report)
    if told is None or told.counts != summary.counts:
        found.faults.append("the allocation is not the one that the record counts")
    if satisfied != costs.satisfied:
        found.faults.append(
            f"the budget {record.budget} is {'' if satisfied else 'not '}kept, the record says "
            f"{'it is' if costs.satisfied else 'it is not'}"
        )


def _check_scores(
    record: JobRecord, records: Sequence[JobRecord], store: RecordStore, means: _Means,
    found: _Findings,
) -> None:  # fmt: skip
    """Recompute the scores of kept samples; those of pairs if full precision kept its own."""
    if not store.has_samples(record.job):
        found.unknown.append("the samples were not kept")
        return
    protocol = validate(Protocol, record.protocol, record.job)
    samples, loader = _samples(record, store), means.loader
    try:
        evaluator = loader.evaluator(protocol)
        scores: Mapping[Metric, Score] = {}
        if evaluator is not None:
            labels = loader.model(record.model, protocol).labels
            images = record.n_images
            with TemporaryDirectory() as made:
                reuse, reference = not means.from_images, evaluator.reference
                files = FeatureFiles(samples, evaluator.network, Path(made), reuse)
                scores = distribution_of(files, reference, images, lambda done: None, labels)
        partner = _reference(record, records)
        if partner is not None and store.has_samples(partner.job):
            pairs, lpips = _samples(partner, store), loader.lpips(protocol)
            scores = {**scores, **fidelity(samples, pairs, record.n_images, lpips)}
        scorer = loader.clip(protocol)
        prompts = loader.model(record.model, protocol).texts if scorer is not None else None
        if scorer is not None and prompts is not None:
            agreement = clip_score_of(samples, scorer, prompts, record.n_images, lambda done: None)
            scores = {**scores, **agreement}
    except BenchError as error:
        found.unknown.append(f"scores: {error}")
        return
    for name, score in scores.items():
        if name in record.scores:
            found.compare(name, record.scores[name].value, score.value, SAME)


def _samples(record: JobRecord, store: RecordStore) -> SampleStore:
    folder = store.samples_path(record.job)
    return SampleStore(folder, fingerprint_of(folder), 1)


def _reference(record: JobRecord, records: Sequence[JobRecord]) -> JobRecord | None:
    """Return the record of full precision that ``record`` is paired with, if it has one."""
    condition = record.model, record.seed, record.protocol
    partners = (r for r in records if r.is_full_precision and r.status == "done")
    found = next((r for r in partners if (r.model, r.seed, r.protocol) == condition), None)
    return None if record.is_full_precision else found
