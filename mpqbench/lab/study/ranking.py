"""The study of proxies, from sampling allocations to the table of rank correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.precision import Allocation, Precision
from ...core.recipe import Recipe
from ...core.suite import Suite
from ...job.resources import Session
from ...records.schema import JobRecord
from ...report.proxies import proxy_figure, proxy_markdown
from ...report.style import save
from ..suite import plan, run_suite
from .agreement import FEWEST
from .proxies import (
    agreements,
    allocation_suite,
    measured,
    proxies,
    proxy_scores,
    study_job,
)

if TYPE_CHECKING:
    import pandas as pd


def run_proxies(suite: Suite, session: Session, count: int) -> tuple[list[Path], bool]:
    """Samples allocations for the suite's one method, measures each, and ranks every proxy by FD.

    There are ``count`` of them. Returns the paths of tables and figures, and whether a job failed.
    What is done is not done again. Raises BenchError where too few were measured.
    """
    import pandas as pd

    registry = session.registry
    (method,) = suite.methods
    base = registry.method(method)
    suite = allocation_suite(suite, base, session.resources, count)
    write_atomic(session.store.folder / "suite.yaml", as_yaml(suite).encode())
    jobs = plan(suite, registry, session.device)
    records = run_suite(jobs, session)
    done = [r for r in records if not r.is_full_precision and r.status == "done"]
    if len(done) < FEWEST:
        raise BenchError(f"{len(done)} allocations were measured: {FEWEST} are needed")
    by_id = {job.id: job for job in jobs}
    allocations = [by_id[record.job].recipe.searcher.params["allocation"] for record in done]
    scores = _scores(suite, session, base, allocations)
    rows = [row for half in (False, True) for row in agreements(scores, done, half)]
    table = pd.DataFrame(rows)
    return _write(session.store.folder, table, scores, done), len(done) < count


def _scores(
    suite: Suite, session: Session, base: Recipe, allocations: Sequence[Mapping[str, str]]
) -> dict[str, np.ndarray]:
    """By name of the proxy: (allocations,) each."""
    job = study_job(suite, base, session.device)
    every = list(proxies(session.registry))
    parsed = [
        Allocation({group: Precision.parse(text) for group, text in own.items()})
        for own in allocations
    ]
    scores = {}
    for number, proxy in enumerate(every, 1):
        session.reporter.say(f"[{number}/{len(every)}] {proxy.name}")
        scores[proxy.name] = proxy_scores(proxy, job, parsed, session.resources)
    return scores


def _write(
    folder: Path,
    table: pd.DataFrame,
    scores: dict[str, np.ndarray],
    records: list[JobRecord],
) -> list[Path]:
    import pandas as pd

    raw = pd.DataFrame({"method": [record.method for record in records], **scores})
    raw = raw.assign(**measured(records))
    texts = {
        "proxies.csv": table.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "proxies.md": proxy_markdown(table, records),
        "scores.csv": raw.to_csv(index=False, float_format="%.8g", lineterminator="\n"),
    }
    paths = []
    for name, text in texts.items():
        paths.append(folder / name)
        write_atomic(paths[-1], text.encode())
    figure = proxy_figure(table, records[0].extractor)
    return [*paths, *save(figure, folder / "figures" / "proxies")]


def as_yaml(suite: Suite) -> str:
    """The suite with its sampled allocations: ``mpqbench run`` measures the same ones again."""
    import yaml

    head = "# The sampled allocations of a study of proxies.\n"
    return head + yaml.safe_dump(suite.model_dump(mode="json"), sort_keys=False, width=1000)
