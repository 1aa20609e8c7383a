"""``mpqbench check``: whether a plugin keeps its promises."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import plugins_option

if TYPE_CHECKING:
    from ..core.registry import PluginEntry, Registry


@click.command("check")
@click.argument("name")
@click.option("--kind", metavar="KIND", help="Kind of the plugin, where two share the name.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE",
              help="Parameter of the plugin; repeatable.")  # fmt: skip
@click.option("--quick/--full", default=None,
              help="Few cases, or all.  [default: few where the plugin is slow]")  # fmt: skip
@plugins_option
def check(
    name: str,
    kind: str | None,
    params: tuple[str, ...],
    quick: bool | None,
    plugins: tuple[Path, ...],
) -> None:
    """Check the plugin NAME, a transform, rounding, branch, searcher, objective, environment, tuner
    or correction.

    A transform, rounding or branch: shapes, bits, errors, costs, hostile layers, a whole model.
    Searchers: choices, budgets, allowances, counted scores. Objectives and environments: scores and
    layers of a tiny network, alone and in batches. Tuners: errors, grids and costs of a tiny
    quantized network, stopped and resumed. Corrections: made-up steps. All: the same result again,
    nothing changed.

    Exit code 0 where it keeps every promise, 1 where it breaks one, 2 for a mistake in the command.

    \b
    Examples:
      mpqbench check nearest
      mpqbench check smooth --param alpha=0.7
      mpqbench check tss --quick
      mpqbench check mine --kind rounding --plugins mine.py
    """
    from ..conformance import checks
    from ..core.recipe import PluginChoice
    from ..core.registry import discover

    registry = discover(plugins)
    values = dict(map(_parameter, params))
    total = failed = 0
    for entry in _entries(registry, name, kind):
        plugin = registry.create(entry.kind, PluginChoice(name=name, params=values))
        click.echo(f"{entry.kind} '{name}' of {entry.origin}")
        for one in checks(entry.kind, plugin, quick=quick):
            start, reason = time.perf_counter(), ""
            try:
                one()
            except AssertionError as error:
                reason = str(error)
            total, failed = total + 1, failed + bool(reason)
            seconds = time.perf_counter() - start
            click.echo(f"  {'FAILED' if reason else 'ok':7s} {one.name:20s} {seconds:6.1f} s"
                       f"  {reason or one.promise}")  # fmt: skip
    click.echo(f"{total - failed} of {total} checks passed")
    if failed:
        raise click.exceptions.Exit(1)


def _entries(registry: Registry, name: str, kind: str | None) -> Iterable[PluginEntry]:
    from ..conformance import KINDS
    from ..core.errors import BenchError, unknown

    if kind is not None:
        if kind not in KINDS:
            raise unknown("kind of plugin to check", kind, KINDS)
        return [registry.entry(kind, name)]
    known = {entry.name for each in KINDS for entry in registry.entries(each)}
    if name in known:
        return [entry for entry in registry.find(name) if entry.kind in KINDS]
    if name in {entry.name for entry in registry.entries("method")}:
        raise BenchError(f"method '{name}' is a recipe: check the plugins that 'info {name}' names")
    raise unknown("plugin", name, known)


def _parameter(text: str) -> tuple[str, Any]:
    """``alpha=0.7`` to a key and a value as a suite file would read it."""
    import yaml

    from ..core.errors import BenchError

    key, equals, value = text.partition("=")
    if not key or not equals:
        raise BenchError(f"--param '{text}' is not of the form KEY=VALUE")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BenchError(f"--param {key}: '{value}' cannot be read as a value") from error
