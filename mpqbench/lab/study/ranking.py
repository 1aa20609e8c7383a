"""The study of proxies: from sampled allocations to rank correlations."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.precision import Allocation
from ...core.suite import Suite
from ...job.resources import Session
from ...records.frame import frame_csv
from ...records.schema import JobRecord
from ..suite import plan, run_suite
from .agreement import FEWEST
from .proxies import agreements, allocation_suite, measured, proxies, proxy_scores, study_job


@dataclass(frozen=True, eq=False)
class ProxyStudy:
    """The table of ``proxies.agreements``, the records it ranks by, and the files written.

    ``failed`` says whether an allocation could not be measured.
    """

    table: pd.DataFrame
    records: list[JobRecord]
    paths: list[Path]
    failed: bool


def run_proxies(suite: Suite, session: Session, count: int) -> ProxyStudy:
    """Sample ``count`` allocations for the suite's one method, measure them, rank every proxy.

    Writes ``proxies.csv`` (rank correlations) and ``scores.csv`` (what every proxy and measurement
    says of every allocation). What is done is not done again. Raises BenchError if fewer than
    ``FEWEST`` allocations were measured.
    """
    registry = session.registry
    (method,) = suite.methods
    base = registry.method(method)
    suite = allocation_suite(suite, base, session.resources, count)
    text = yaml.safe_dump(suite.model_dump(mode="json"), sort_keys=False, width=1000)
    text = f"# The sampled allocations of a study of proxies.\n{text}"
    write_atomic(session.store.folder / "suite.yaml", text.encode())
    jobs = plan(suite, registry, session.device)
    records = run_suite(jobs, session)
    done = [r for r in records if not r.is_full_precision and r.status == "done"]
    if len(done) < FEWEST:
        raise BenchError(f"{len(done)} allocations were measured: {FEWEST} are needed")
    recipes = {job.id: job.recipe for job in jobs}
    given = [recipes[record.job].searcher.params["allocation"] for record in done]
    allocations = [Allocation.from_json(items) for items in given]
    job, every, scores = study_job(suite, base, session.device), list(proxies(registry)), {}
    for number, proxy in enumerate(every, 1):
        session.reporter.say(f"[{number}/{len(every)}] {proxy.name}")
        scores[proxy.name] = proxy_scores(proxy, job, allocations, session.resources)
    rows = [row for half in (False, True) for row in agreements(scores, done, half)]
    table = pd.DataFrame(rows)
    raw = pd.DataFrame({"method": [r.method for r in done], **scores, **measured(done)})
    folder = session.store.folder
    texts = {"proxies.csv": frame_csv(table, "%.6g"), "scores.csv": frame_csv(raw, "%.8g")}
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())
    return ProxyStudy(table, done, [folder / name for name in texts], len(done) < count)
