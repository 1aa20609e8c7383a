"""Searchers on equal terms: one choice list, one rounding, one allowance, several seeds."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from ...core.files import write_atomic
from ...core.precision import Budget
from ...core.settings import digest_of
from ...core.suite import Job, Suite
from ...job.resources import Session
from ...records.schema import JobRecord
from ...records.store import read_object
from ..suite import plan, run_suite
from .regret import measure_regret, truncated_choices


@dataclass(frozen=True)
class SearcherStudy:
    """The records of a study, its rows of ``regret.Regret``, and whether something ``failed``."""

    records: list[JobRecord]
    regrets: list[dict[str, Any]]
    failed: bool


def with_evaluations(suite: Suite, evaluations: float | None) -> Suite:
    """Return ``suite`` with this allowance in every method, unchanged for ``None``."""
    if evaluations is None:
        return suite
    methods = tuple(
        {**(m if isinstance(m, dict) else {"base": m, "name": m}), "evaluations": evaluations}
        for m in suite.methods
    )
    return suite.model_copy(update={"methods": methods})


def run_searchers(suite: Suite, session: Session) -> SearcherStudy:
    """Run every search, its samples and its regret; what is done is not done again.

    Raises BenchError for a budget around which there is no exact reference.
    """
    jobs = plan(suite, session.registry, session.device)
    for budget in suite.budgets:
        truncated_choices(Budget.parse(budget).precision)  # before hours of searching
    records = run_suite(jobs, session)
    done = {record.job for record in records if record.status == "done"}
    searched = [job for job in jobs if not job.is_reference and job.id in done]
    regrets = []
    for number, job in enumerate(searched, 1):
        title = f"regret of {job.recipe.name} {job.budget} seed {job.seed}"
        try:
            regrets.append(_regret(job, session, f"[{number}/{len(searched)}] {title}"))
        except Exception as error:  # whatever a plugin raises must not cost the other rows
            session.reporter.say(f"{title}: {type(error).__name__}: {error}")
    failed = any(record.status == "failed" for record in records)
    return SearcherStudy(records, regrets, failed or len(regrets) < len(searched))


def _regret(job: Job, session: Session, title: str) -> dict[str, Any]:
    """Measure the regret of a job, or read it from the folder of the study."""
    recipe = job.recipe.model_dump(mode="json", exclude={"summary", "source"})
    sources, protocol = (
        session.registry.source_digest(job.recipe),
        job.protocol.model_dump(mode="json"),
    )
    mark = digest_of([recipe, sources, job.model, protocol, str(job.budget), job.seed])
    path = session.store.folder / "regret" / f"{job.id}.json"
    known = read_object(path) if path.is_file() else {}
    if known.get("mark") == mark:
        return known
    session.reporter.say(title)
    row = {"mark": mark, **asdict(measure_regret(job, session.resources))}
    write_atomic(path, json.dumps(row, indent=2).encode())
    return row
