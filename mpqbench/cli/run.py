"""``mpqbench run``: run a suite and make its leaderboard."""

import sys
from typing import Any

import click

from . import completion, options


@click.command("run")
@click.argument("suite", default="quick", metavar="[SUITE]", shell_complete=completion.suites)
@click.option("--model", "models", multiple=True, metavar="NAME", shell_complete=completion.models,
              help="Model instead of the suite's; repeatable.")  # fmt: skip
@click.option("--method", "methods", multiple=True, metavar="NAME",
              shell_complete=completion.methods,
              help="Only this method: one of the suite's, or any registered one; "
              "repeatable.")  # fmt: skip
@options.budgets("the suite's")
@options.formats("Classes of formats that every method is run in, instead of the suite's.")
@options.seeds("the suite's")
@options.realizations
@options.protocol
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True,
              help="Images of a shard, which is sampled and written as a whole, in whole "
              "micro-batches; changes no image.")  # fmt: skip
@options.device
@options.parallel
@options.plugins
@options.out("SUITE")
@click.option("--fresh", is_flag=True, help="Run again what is already done.")
@options.dry_run
def run(suite: str, dry_run: bool, **given: Any) -> None:
    """Run SUITE (quick, smoke, full, or a YAML file) and make its leaderboard.

    A job whose record has the same fingerprint is not run again: after an interruption the same
    command resumes the run. The same command in several processes or on several machines, on one
    --out, shares the jobs. SIGTERM stops as Ctrl-C does, with exit code 143.

    \b
    Examples:
      mpqbench run
      mpqbench run smoke --budget W4A4
      mpqbench run quick --model path/to/DiTPipeline --features none
      mpqbench run my-suite.yaml --seeds 0,1,2 --device cuda
      mpqbench run full --workers 8
      mpqbench run full --devices cuda:0,cuda:1
      mpqbench run equal-terms --method groups --formats g32 --budget W3A3
    """
    axes = ("models", "budgets", "formats", "seeds", "realizations")
    options.load(suite, {axis: given[axis] for axis in axes}, given)

    from ..api.jobs import prepare
    from ..api.workers import run_with, without_workers
    from .report import show

    settings = options.settings(given)
    if dry_run:
        prepared = prepare(suite, **without_workers(settings))
        options.show_suite(prepared.suite, prepared.jobs, prepared.session)
        return
    results = run_with(prepare, (suite,), options.with_workers(settings))
    show([results.folder])
    if results.has_failed:
        sys.exit(1)
