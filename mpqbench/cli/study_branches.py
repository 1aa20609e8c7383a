"""``mpqbench study branches``: compare branches at equal bytes, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import finish, open_session, plugins_option

if TYPE_CHECKING:
    from ..core.recipe import PluginChoice


@click.command("branches")
@click.option("--model", default="fashion-dit", show_default=True, metavar="NAME")
@click.option("--bits", type=click.IntRange(2, 7), multiple=True, default=(3, 4),
              show_default=True, help="Of the rounded weights; repeatable.")  # fmt: skip
@click.option("--rank", type=click.IntRange(min=1), multiple=True, default=(2, 4, 8),
              show_default=True, help="A branch has the bytes of this low rank at 8 bits; "
              "repeatable.")  # fmt: skip
@click.option("--branch", multiple=True, metavar="CHOICE",
              help="One more branch: a name, or '{name: monarch, permutation: energy}'; "
              "repeatable.")  # fmt: skip
@click.option("--method", default="rtn", show_default=True, metavar="NAME",
              help="Recipe of the layers that get the branch.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of the inputs.")
@click.option("--calibration", type=click.IntRange(min=1), default=64, show_default=True,
              help="Calibration inputs, and as many held-out ones.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="As in run.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder instead of runs/branches.")  # fmt: skip
@plugins_option
def branches(
    model: str, bits: tuple[int, ...], rank: tuple[int, ...], branch: tuple[str, ...],
    method: str, seed: int, calibration: int, **shared: Any,
) -> None:  # fmt: skip
    """Give every branch the same bytes beside every layer; report what is left of its error.

    \b
    Examples:
      mpqbench study branches
      mpqbench study branches --bits 3 --rank 4 --branch "{name: monarch, permutation: energy}"
      mpqbench study branches --method gptq --plugins my_branch.py --branch my-branch
    """
    from ..core.precision import Budget, Precision
    from ..core.protocol import PROTOCOLS
    from ..core.suite import Job
    from ..lab.study.branches import BRANCHES, BranchPlan, run_branches
    from ..report.branches import write_branches

    session = open_session("branches", shared)
    settings = {"calibration": calibration, "features": "none"}
    protocol = PROTOCOLS["quick"].model_copy(update=settings)
    budget = Budget(Precision(min(bits), None))
    recipe = session.registry.method(method)
    job = Job(model, recipe, budget, seed, protocol, shared["device"])
    chosen = (*BRANCHES, *map(_choice, branch))
    table, path = run_branches(BranchPlan(job, chosen, _once(rank), _once(bits)), session)
    finish([path, *write_branches(table, job, session.store.folder)], failed=False)


def _once(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(numbers)))


def _choice(text: str) -> PluginChoice:
    """Read a name or YAML with a name. Raises BenchError for anything else."""
    import yaml

    from ..core.errors import BenchError
    from ..core.recipe import PluginChoice
    from ..core.settings import validate

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        data = None
    if not isinstance(data, str | dict):
        raise BenchError(
            f"--branch '{text}' is not a branch: write a name or '{{name: monarch, block_rank: 2}}'"
        )
    return validate(PluginChoice, data, "--branch")
