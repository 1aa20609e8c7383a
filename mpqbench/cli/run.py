"""``mpqbench run``: run a suite and make its leaderboard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import BenchError
from .options import checked_budgets, plugins_option

if TYPE_CHECKING:
    from ..api import SuiteRun


@click.command("run")
@click.argument("suite", default="quick", metavar="[SUITE]")
@click.option(
    "--model", multiple=True, metavar="NAME", help="Model instead of the suite's; repeatable."
)
@click.option(
    "--method",
    multiple=True,
    metavar="NAME",
    help="Only this method: one of the suite's, or any registered one; repeatable.",
)
@click.option(
    "--budget", multiple=True, metavar="W4A4", help="Budget instead of the suite's; repeatable."
)
@click.option("--seeds", metavar="0,1,2", help="Seeds instead of the suite's, separated by commas.")
@click.option("--images", type=click.IntRange(min=1), help="Number of images.")
@click.option("--steps", type=click.IntRange(min=1, max=1000), help="Sampling steps.")
@click.option("--sampler", type=click.Choice(["ddim", "ddpm"]), help="Sampler.")
@click.option(
    "--convention",
    type=click.Choice(["original", "diffusers"]),
    help="Arithmetic of this code base.",
)
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Of the transformer."
)
@click.option(
    "--features", metavar="NAME", help="Feature network; 'none' for fidelity and cost alone."
)
@click.option(
    "--feature-weights", type=click.Path(), metavar="PATH", help="Weights of the feature network."
)
@click.option(
    "--micro-batch", type=click.IntRange(min=1), help="Images per forward; may change last bits."
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Images sampled and written at a time, in whole micro-batches; changes no image.",
)
@click.option("--reference", metavar="REF", help="Reference statistics or images.")
@click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE", help="cpu, cuda, cuda:1, ..."
)
@plugins_option
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder instead of runs/SUITE."
)
@click.option("--fresh", is_flag=True, help="Run again what is already done.")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Print the resolved suite and its jobs; run nothing."
)
def run(suite: str, seeds: str | None, dry_run: bool, **given: Any) -> None:
    """Run SUITE (quick, smoke, full, or a YAML file) and make its leaderboard.

    A job whose record has the same fingerprint is not run again: after an interruption the same
    command resumes the run.

    \b
    Examples:
      mpqbench run
      mpqbench run smoke --budget W4A4
      mpqbench run quick --model path/to/DiTPipeline --features none
      mpqbench run my-suite.yaml --seeds 0,1,2 --device cuda
      mpqbench run treeq --method groups-peft --budget W3A3
    """
    from ..api import prepare
    from .report import show

    lists = {name: given.pop(name.removesuffix("s")) for name in ("models", "methods", "budgets")}
    lists["seeds"] = parse_seeds(seeds) if seeds else ()
    checked_budgets(lists["budgets"])
    settings = {key: value for key, value in given.items() if value is not None}
    settings |= {key: value for key, value in lists.items() if value}
    prepared = prepare(suite, **settings)
    if dry_run:
        _show_plan(prepared)
        return
    records = prepared.run()
    show(prepared.session.store.folder)
    if any(record.status == "failed" for record in records):
        sys.exit(1)  # a diverged or infeasible row is a result, a failed one is not


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the numbers in the value of ``--seeds``. Raises BenchError for another text."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BenchError(
            f"--seeds '{text}' must be whole numbers with commas, such as 0,1,2"
        ) from None


def _show_plan(prepared: SuiteRun) -> None:
    import yaml

    from ..lab.suite import look_up

    suite = prepared.suite.model_dump(mode="json")
    click.echo(yaml.safe_dump(suite, sort_keys=False).rstrip())
    click.echo(f"\n{len(prepared.jobs)} jobs into {prepared.session.store.folder}:")
    for planned in look_up(prepared.jobs, prepared.session):
        state = "done before" if planned.cached else "to run"
        click.echo(f"  {planned.job.id:60s} {planned.fingerprint}  {state}")
