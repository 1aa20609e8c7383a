"""``mpqbench study``: compare searchers, proxies and branches."""

from __future__ import annotations

from typing import Any

import click

from .options import checked_budgets, finish, open_session, overrides, study_options
from .study_branches import branches


@click.group("study")
def study() -> None:
    """Compare searchers at equal evaluations, proxies by their ranking, branches at equal bytes.

    The same command resumes a study that was stopped.
    """


study.add_command(branches)


@study.command("searchers")
@click.argument("suite", default="searchers", metavar="[SUITE]")
@click.option("--budget", multiple=True, metavar="W4A4", help="Instead of the suite's; repeatable.")
@click.option("--seeds", metavar="0,1,2", help="Instead of the suite's, separated by commas.")
@click.option(
    "--method", multiple=True, metavar="NAME", help="Only these of the suite; repeatable."
)
@click.option("--evaluations", type=click.FloatRange(min=0, min_open=True),
              help="What every search may spend, in forwards of the calibration set.")  # fmt: skip
@study_options
def searchers(
    suite: str, budget: tuple[str, ...], seeds: str | None, method: tuple[str, ...],
    evaluations: float | None, **shared: Any,
) -> None:  # fmt: skip
    """Give every searcher of SUITE the same evaluations; report score, FD, regret and seconds.

    \b
    Examples:
      mpqbench study searchers
      mpqbench study searchers --budget W3A3 --seeds 0 --evaluations 500
      mpqbench study searchers mine.yaml --plugins my_searcher.py
    """
    from ..lab.study.searchers import run_searchers, with_evaluations
    from ..lab.suite import with_methods
    from ..lab.suites import load_suite
    from ..report.studies import write_searchers
    from ..report.write import write_report
    from .run import parse_seeds

    given = {"budgets": checked_budgets(budget), "seeds": parse_seeds(seeds) if seeds else ()}
    resolved = load_suite(suite, overrides(given, shared))
    resolved = with_evaluations(with_methods(resolved, method), evaluations)
    session = open_session(resolved.name, shared)
    found, folder = run_searchers(resolved, session), session.store.folder
    paths = [*write_searchers(found.records, found.regrets, folder), *write_report(folder)]
    finish(paths, found.failed)


@study.command("proxies")
@click.option("--budget", metavar="W3A3", help="Instead of W3A3.")
@click.option("--seed", type=int, help="Of calibration, allocations and images.  [default: 0]")
@click.option("--allocations", type=click.IntRange(min=20), default=64, show_default=True,
              help="How many are sampled and measured.")  # fmt: skip
@click.option("--method", metavar="NAME", help="Recipe of the allocations instead of rtn.")
@study_options
def proxies(
    budget: str | None, seed: int | None, allocations: int, method: str | None, **shared: Any
) -> None:
    """Sample allocations, measure FD of each, and rank every objective x environment by its tau.

    \b
    Examples:
      mpqbench study proxies
      mpqbench study proxies --budget W4A4 --allocations 100 --method gptq
    """
    from ..lab.study.proxies import run_proxies
    from ..lab.suites import load_suite
    from ..report.studies import write_proxies

    given: dict[str, Any] = {"budgets": checked_budgets((budget,) if budget else ())}
    given["seeds"] = () if seed is None else (seed,)
    given["methods"] = (method,) if method else ()
    resolved = load_suite("proxies", overrides(given, shared))
    session = open_session(resolved.name, shared)
    found = run_proxies(resolved, session, allocations)
    paths = write_proxies(found.table, found.records, session.store.folder)
    finish([*found.paths, *paths], found.failed)
