"""``mpqbench ablate``: the effect of each component of a method."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..core.errors import BenchError, unknown
from ..core.protocol import PROTOCOLS
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
@click.option("--protocol", "protocol_name", default="quick", show_default=True, metavar="NAME",
              shell_complete=completion.protocols,
              help="How images are made and measured.")  # fmt: skip
@options.of_study
def ablate(
    method: str, factors: tuple[str, ...], file: Path | None, dry_run: bool, **shared: Any
) -> None:  # fmt: skip
    """Switch the components of METHOD on and off, in all combinations, and estimate their effects.

    METHOD is a name or a YAML file with a recipe. The same command resumes where it was stopped.

    \b
    Examples:
      mpqbench ablate treeq-search --budget W3A3 --seeds 0,1,2
      mpqbench ablate treeq-search --factor "searcher=tss|ilp|uniform" --one-at-a-time
      mpqbench ablate treeq-search --sweep environment.noise=0,0.25,0.5,1
      mpqbench ablate gptq --factor "rounding.act_order=true|false"
      mpqbench ablate gptq --sweep protocol.calibration=16,64,256
      mpqbench ablate rtn --factor "branch=monarch|sparse|none" --sweep branch.like_rank=1,2,4
    """
    given = _given(shared)
    kind = {key: shared[key] for key in ("sweeps", "full", "scale")}

    from ..lab.ablation.design import Design, factors_from, merged, parse_factors
    from ..lab.ablation.run import PlannedAblation, stores_of, write_effects
    from ..lab.suite import has_failed
    from ..report.ablation import write_ablation
    from ..report.write import write_report

    if kind["sweeps"] and not kind["full"]:
        raise BenchError("--sweep varies one number: leave out --one-at-a-time")
    if kind["sweeps"] and kind["scale"] != "log":
        raise BenchError("--sweep estimates no effects: leave out --scale")
    if len(shared["formats"]) > 1:
        raise BenchError("an ablation is in one class of formats: give --formats one")
    is_file = method.endswith((".yaml", ".yml"))
    session = options.open_study(f"ablate-{Path(method).stem if is_file else method}", shared)
    recipe = session.registry.method(_recipe(Path(method)) if is_file else method)
    for name in shared["formats"]:
        recipe = recipe.in_class(name)
    varied = parse_factors(factors, recipe)
    if file is not None:
        varied = merged(varied, factors_from(read_yaml(file), str(file)))
    design = Design(method=recipe, factors=varied, **kind)
    planned = PlannedAblation.of(design, session.registry)
    if dry_run:
        _show(planned, given, session)
        return
    kept, result = planned.run(given, session)
    folder = session.store.folder
    paths = [kept, *write_effects(result, folder), *write_ablation(result, folder)]
    for store, _ in stores_of(planned.cells, folder):
        paths += write_report([store.folder])
    options.finish(paths, has_failed(result.records))


def _given(shared: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a suite but its methods. Raises BenchError for a wrong name."""
    protocol = shared["protocol_name"]
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    given: dict[str, Any] = {"name": "ablation", "budgets": ("W4A4", "W3A3")}
    given |= options.overrides(
        {axis: shared[axis] for axis in ("budgets", "seeds", "realizations")}, shared
    )
    for model in given.get("models", ()):
        check_model(model)
    return given | {"protocol": PROTOCOLS[protocol].model_dump() | given.get("protocol", {})}


def _recipe(path: Path) -> dict[str, Any]:
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise BenchError(f"{path}: a recipe is a mapping with name, base, searcher, ...")
    return {"name": path.stem, **data}


def _show(planned: Any, given: dict[str, Any], session: Any) -> None:
    from ..lab.ablation.run import jobs_of

    heading = []
    if planned.plan is not None:
        for name, levels in planned.plan.levels.items():
            base = planned.plan.base[name]
            shown = ", ".join(level + " *" * (level == base) for level in levels)
            heading.append(f"{name}: {shown}\n")
    alike = (cell for cell in planned.cells if cell.name != cell.recipe.name)
    heading += [f"{cell.name} is {cell.recipe.name}\n" for cell in alike]
    for store, jobs in jobs_of(planned.cells, given, session):
        options.show_jobs(jobs, replace(session, store=store), "".join(heading))
        heading = []
