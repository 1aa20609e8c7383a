"""``mpqbench ablate``: the effect of each component of a method."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..core.yaml_text import read_yaml
from ..dit.configs import check_model
from . import completion, options


@click.command("ablate")
@click.argument("method", metavar="METHOD", shell_complete=completion.methods)
@click.option("--factor", "factors", multiple=True, metavar="SLOT[.PARAM]=A|B|...",
              help="Levels of a slot: names, '{name: eng, noise: 0.5}' or 'half: {...}'; or of a "
              "parameter: values; repeatable.  [default: every slot the method fills, on and "
              "off]")  # fmt: skip
@click.option("--factors", "file", type=click.Path(path_type=Path), metavar="FILE.yaml",
              help="{factor: {level: {slot: choice, ...}}}")  # fmt: skip
@click.option("--sweep", "sweeps", multiple=True, metavar="SLOT.PARAM=1,2,...",
              help="Vary one number instead, for every level of one factor; also "
              "protocol.FIELD; repeatable.")  # fmt: skip
@click.option("--full/--one-at-a-time", default=True,
              help="All combinations of levels (default), or each level alone.")  # fmt: skip
@click.option("--scale", type=click.Choice(["log", "linear"]), default="log", show_default=True,
              help="Effects as ratios or as differences.")  # fmt: skip
@options.budgets("W4A4 and W3A3")
@options.formats("One class of formats instead of the method's own.")
@options.seeds("0")
@options.realizations
@click.option("--protocol", default="quick", show_default=True, metavar="NAME",
              shell_complete=completion.protocols,
              help="How images are made and measured.")  # fmt: skip
@options.parallel
@options.of_study
def ablate(
    method: str, factors: tuple[str, ...], file: Path | None, dry_run: bool, **shared: Any
) -> None:  # fmt: skip
    """Switch the components of METHOD on and off, in all combinations, and estimate their effects.

    METHOD is a name or a YAML file with a recipe. The same command resumes where it was stopped,
    and shares the jobs with other processes that make it on the same --out.

    \b
    Examples:
      mpqbench ablate treeq-search --budget W3A3 --seeds 0,1,2
      mpqbench ablate treeq-search --factor "searcher=tss|ilp|uniform" --one-at-a-time
      mpqbench ablate treeq-search --sweep environment.noise=0,0.25,0.5,1
      mpqbench ablate gptq --factor "rounding.act_order=true|false"
      mpqbench ablate gptq --factor "rounding.damping=0.01|0.1" --workers 4
      mpqbench ablate gptq --sweep protocol.calibration=16,64,256
      mpqbench ablate rtn --factor "branch=monarch|sparse|none" --sweep branch.like_rank=1,2,4
    """
    if shared["model"] is not None:
        check_model(shared["model"])  # before anything heavy is imported

    from ..api.studies import prepare_ablation
    from ..api.workers import run_with, without_workers
    from ..lab.ablation.design import factors_from

    from_file = () if file is None else (factors_from(read_yaml(file), str(file)),)
    given, settings = (method, (*factors, *from_file)), options.settings(shared)
    if dry_run:
        _show(prepare_ablation(*given, **without_workers(settings)))
        return
    results = run_with(prepare_ablation, given, options.with_workers(settings))
    options.finish(results.write(), results.has_failed)


def _show(prepared: Any) -> None:
    from ..lab.ablation.run import jobs_of

    planned, session = prepared.planned, prepared.session
    heading = []
    if planned.plan is not None:
        for name, levels in planned.plan.levels.items():
            base = planned.plan.base[name]
            shown = ", ".join(level + " *" * (level == base) for level in levels)
            heading.append(f"{name}: {shown}\n")
    alike = (cell for cell in planned.cells if cell.name != cell.recipe.name)
    heading += [f"{cell.name} is {cell.recipe.name}\n" for cell in alike]
    for store, jobs in jobs_of(planned.cells, prepared.given, session):
        options.show_jobs(jobs, replace(session, store=store), "".join(heading))
        heading = []
