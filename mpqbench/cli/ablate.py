"""``mpqbench ablate``: the effect of each component of a method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import BenchError
from .options import checked_budgets, finish, open_session, overrides, study_options

if TYPE_CHECKING:
    from ..core.recipe import Recipe
    from ..lab.ablation.factors import Factors
    from ..lab.ablation.run import PlannedAblation


@click.command("ablate")
@click.argument("method", metavar="METHOD")
@click.option("--factor", "factors", multiple=True, metavar="SLOT=A|B|...",
              help="Levels of a slot: names, '{name: eng, noise: 0.5}' or 'half: {...}'; "
              "repeatable.  [default: every slot the method fills, on and off]")  # fmt: skip
@click.option("--factors", "file", type=click.Path(path_type=Path), metavar="FILE.yaml",
              help="{factor: {level: {slot: choice, ...}}}")  # fmt: skip
@click.option("--sweep", "sweeps", multiple=True, metavar="SLOT.PARAM=1,2,...",
              help="Vary one number instead, for every level of one factor; also "
              "protocol.FIELD; repeatable.")  # fmt: skip
@click.option("--full/--one-at-a-time", default=True,
              help="All combinations of levels (default), or each level alone.")  # fmt: skip
@click.option("--scale", type=click.Choice(["log", "linear"]), default="log", show_default=True,
              help="Effects as ratios or as differences.")  # fmt: skip
@click.option("--budget", multiple=True, metavar="W4A4", help="Repeatable.  [default: W4A4, W3A3]")
@click.option("--seeds", metavar="0,1,2", help="Separated by commas.  [default: 0]")
@click.option("--protocol", "protocol_name", default="quick", show_default=True, metavar="NAME",
              help="How images are made and measured.")  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Print the factors and jobs; run nothing.")
@study_options
def ablate(
    method: str, factors: tuple[str, ...], file: Path | None, sweeps: tuple[str, ...], full: bool,
    scale: Any, budget: tuple[str, ...], seeds: str | None, protocol_name: str, dry_run: bool,
    **shared: Any,
) -> None:  # fmt: skip
    """Switch the components of METHOD on and off, in all combinations, and estimate their effects.

    METHOD is a name or a YAML file with a recipe. The same command resumes where it was stopped.

    \b
    Examples:
      mpqbench ablate treeq-search --budget W3A3 --seeds 0,1,2
      mpqbench ablate treeq-search --factor "searcher=tss|ilp|uniform" --one-at-a-time
      mpqbench ablate treeq-search --sweep environment.noise=0,0.25,0.5,1
      mpqbench ablate gptq --sweep protocol.calibration=16,64,256
      mpqbench ablate rtn --factor "branch=monarch|sparse|none" --sweep branch.like_rank=1,2,4
    """
    from ..lab.ablation.design import Design
    from ..lab.ablation.run import PlannedAblation, stores_of, write_effects
    from ..report.ablation import write_ablation
    from ..report.write import write_report
    from .run import parse_seeds

    if sweeps and not full:
        raise BenchError("--sweep varies one number: leave out --one-at-a-time")
    if sweeps and scale != "log":
        raise BenchError("--sweep estimates no effects: leave out --scale")
    chosen = {"budgets": checked_budgets(budget), "seeds": parse_seeds(seeds) if seeds else ()}
    given = _suite(overrides(chosen, shared), protocol_name)
    session, recipe = _opened(method, shared)
    varied = _factors(recipe, factors, file)
    design = Design(method=recipe, factors=varied, sweeps=sweeps, full=full, scale=scale)
    planned = PlannedAblation.of(design, session.registry)
    if dry_run:
        _show(planned, given, session)
        return
    kept, result = planned.run(given, session)
    folder = session.store.folder
    paths = [kept, *write_effects(result, folder), *write_ablation(result, folder)]
    for store, _ in stores_of(planned.cells, folder):
        paths += write_report(store.folder)
    finish(paths, any(record.status == "failed" for record in result.records))


def _suite(chosen: dict[str, Any], protocol: str) -> dict[str, Any]:
    """Return all keys of a suite except its methods."""
    from ..core.errors import unknown
    from ..core.protocol import PROTOCOLS

    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    fields = PROTOCOLS[protocol].model_dump() | chosen.pop("protocol", {})
    return {"name": "ablation", "budgets": ("W4A4", "W3A3"), **chosen, "protocol": fields}


def _opened(method: str, shared: dict[str, Any]) -> tuple[Any, Recipe]:
    from ..core.settings import read_yaml

    is_file = method.endswith((".yaml", ".yml"))
    name = Path(method).stem if is_file else method
    session = open_session(f"ablate-{name}", shared)
    if not is_file:
        return session, session.registry.method(method)
    data = read_yaml(Path(method))
    if not isinstance(data, dict):
        raise BenchError(f"{method}: a recipe is a mapping with name, base, searcher, ...")
    return session, session.registry.method({"name": name, **data})


def _factors(recipe: Recipe, factors: tuple[str, ...], file: Path | None) -> Factors:
    from ..core.settings import read_yaml
    from ..lab.ablation.factors import factors_from, merged, parse_factors

    found = parse_factors(factors, recipe)
    return merged(found, factors_from(read_yaml(file), str(file))) if file else found


def _show(planned: PlannedAblation, given: dict[str, Any], session: Any) -> None:
    from dataclasses import replace

    from ..lab.ablation.run import jobs_of
    from ..lab.suite import look_up

    cells, plan = planned.cells, planned.plan
    if plan is not None:
        for name, levels in plan.levels.items():
            shown = [f"{level} *" if level == plan.base[name] else level for level in levels]
            click.echo(f"{name}: {', '.join(shown)}")
    shared = [cell for cell in cells if cell.name != cell.recipe.name]
    for cell in shared:
        click.echo(f"{cell.name} is {cell.recipe.name}")
    for store, jobs in jobs_of(cells, given, session):
        click.echo(f"{len(jobs)} jobs into {store.folder}:")
        for listed in look_up(jobs, replace(session, store=store)):
            state = "done before" if listed.cached else "to run"
            click.echo(f"  {listed.job.id:60s} {listed.fingerprint}  {state}")
