"""``mpqbench run``: run a suite and make its leaderboard."""

import sys
from typing import Any

import click

from . import options


@click.command("run")
@click.argument("suite", default="quick", metavar="[SUITE]")
@click.option("--model", "models", multiple=True, metavar="NAME",
              help="Model instead of the suite's; repeatable.")  # fmt: skip
@click.option("--method", "methods", multiple=True, metavar="NAME",
              help="Only this method: one of the suite's, or any registered one; "
              "repeatable.")  # fmt: skip
@options.budgets("the suite's")
@options.seeds("the suite's")
@click.option("--images", type=click.IntRange(min=1), help="Number of images.")
@click.option("--steps", type=click.IntRange(min=1, max=1000), help="Sampling steps.")
@click.option("--sampler", type=click.Choice(["ddim", "ddpm"]), help="Sampler.")
@click.option("--convention", type=click.Choice(["original", "diffusers"]),
              help="Arithmetic of this code base.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]),
              help="Of the transformer.")  # fmt: skip
@click.option("--features", metavar="NAME",
              help="Feature network; 'none' for fidelity and cost alone.")  # fmt: skip
@click.option("--feature-weights", type=click.Path(), metavar="PATH",
              help="Weights of the feature network.")  # fmt: skip
@click.option("--micro-batch", type=click.IntRange(min=1),
              help="Images per forward; may change last bits.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), default=500, show_default=True,
              help="Images sampled and written at a time, in whole micro-batches; changes no "
              "image.")  # fmt: skip
@options.reference
@options.device
@options.plugins
@options.out("SUITE")
@click.option("--fresh", is_flag=True, help="Run again what is already done.")
@options.dry_run
def run(suite: str, dry_run: bool, **given: Any) -> None:
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
    import yaml

    from ..api import prepare
    from ..lab.suite import has_failed
    from .report import show

    prepared = prepare(suite, **{k: v for k, v in given.items() if v not in (None, ())})
    if dry_run:
        resolved = prepared.suite.model_dump(mode="json")
        click.echo(yaml.safe_dump(resolved, sort_keys=False))
        options.show_jobs(prepared.jobs, prepared.session)
        return
    records = prepared.run()
    show(prepared.session.store.folder)
    if has_failed(records):
        sys.exit(1)
