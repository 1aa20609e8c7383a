"""``mpqbench study``: what many jobs say together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import plugins_option

_SHARED = [
    click.option("--model", metavar="NAME", help="Model instead of the study's."),
    click.option("--images", type=click.IntRange(min=1), help="Images per job."),
    click.option("--calibration", type=click.IntRange(min=1), help="Calibration inputs."),
    click.option("--features", metavar="NAME", help="Feature network instead of the study's."),
    click.option("--reference", metavar="REF", help="Reference statistics or images."),
    click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="As in run."),
    click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
                 help="Folder instead of runs/STUDY."),
    plugins_option,
]  # fmt: skip


def _shared(command: Any) -> Any:
    for option in reversed(_SHARED):
        command = option(command)
    return command


@click.group("study")
def study() -> None:
    """Searchers on equal terms, and how well proxies rank allocations.

    A study goes on where it was stopped: the same command again.
    """


@study.command("searchers")
@click.argument("suite", default="searchers", metavar="[SUITE]")
@click.option("--budget", multiple=True, metavar="W4A4", help="Instead of the suite's; repeatable.")
@click.option("--seeds", metavar="0,1,2", help="Instead of the suite's, separated by commas.")
@click.option(
    "--method", multiple=True, metavar="NAME", help="Only these of the suite; repeatable."
)
@click.option("--evaluations", type=click.FloatRange(min=0, min_open=True),
              help="What every search may spend, in forwards of the calibration set.")  # fmt: skip
@_shared
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
    from ..study.searchers import only, run_searchers, with_evaluations
    from ..suites import load_suite
    from .run import parse_seeds

    given = {"budgets": budget, "seeds": parse_seeds(seeds) if seeds else ()}
    resolved = load_suite(suite, _overrides(given, shared))
    resolved = with_evaluations(only(resolved, method), evaluations)
    session = _session(resolved.name, shared)
    _finish(*run_searchers(resolved, session))


@study.command("proxies")
@click.option("--budget", metavar="W3A3", help="Instead of W3A3.")
@click.option("--seed", type=int, help="Of calibration, allocations and images.  [default: 0]")
@click.option("--allocations", type=click.IntRange(min=20), default=64, show_default=True,
              help="How many are sampled and measured.")  # fmt: skip
@click.option("--method", metavar="NAME", help="The recipe around them instead of rtn.")
@_shared
def proxies(
    budget: str | None, seed: int | None, allocations: int, method: str | None, **shared: Any
) -> None:
    """Sample allocations, measure FD of each, and rank every objective x environment by its tau.

    \b
    Examples:
      mpqbench study proxies
      mpqbench study proxies --budget W4A4 --allocations 100 --method gptq
    """
    from ..study.ranking import run_proxies
    from ..suites import load_suite

    given = {"budgets": (budget,) if budget else (), "seeds": () if seed is None else (seed,)}
    given["methods"] = (method,) if method else ()
    resolved = load_suite("proxies", _overrides(given, shared))
    session = _session(resolved.name, shared)
    _finish(*run_proxies(resolved, session, allocations))


def _overrides(given: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Only what was given on the command line."""
    names = ("images", "calibration", "features", "reference")
    protocol = {name: shared[name] for name in names if shared[name] is not None}
    models = (shared["model"],) if shared["model"] else ()
    every = {**given, "models": models, "protocol": protocol}
    return {key: value for key, value in every.items() if value}


def _session(name: str, shared: dict[str, Any]) -> Any:
    from ..memory import keep_freed_memory
    from ..progress import reporter
    from ..records.store import RecordStore
    from ..registry import discover
    from ..resources import Resources
    from ..study.jobs import Session

    keep_freed_memory()
    registry = discover(shared["plugins"])
    store = RecordStore(shared["out"] or Path("runs") / name)
    resources = Resources(registry, shared["device"], folder=store.folder / "calibration")
    resources.check_device()
    return Session(registry, resources, store, reporter(), shared["device"])


def _finish(paths: list[Path], failed: bool) -> None:
    for path in paths:
        click.echo(path)
    if failed:
        sys.exit(1)  # some job failed: its row says why
