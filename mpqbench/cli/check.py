"""``mpqbench check``: test whether a plugin keeps its promises."""

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
    """Check the plugin NAME: a transform, rounding, branch, searcher, objective, environment, tuner
    or correction.

    A transform, rounding or branch is checked for shapes, bits, errors and costs on ordinary and
    extreme layers and in a whole model; a searcher for choices, budgets, allowances and counted
    scores; an objective or environment on a tiny network, one input at a time and in batches; a
    tuner for errors, grids and costs of a tiny quantized network, stopped and resumed; a correction
    on synthetic steps. Every plugin must give the same result twice and change none of its inputs.

    Exit code 0 where every check passes, 1 where one fails, 2 for a mistake in the command.

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
    choice = PluginChoice(name=name, params=dict(map(_parameter, params)))
    results = []
    for entry in _entries(registry, name, kind):
        plugin = registry.create(entry.kind, choice)
        click.echo(f"{entry.kind} '{name}' of {entry.origin}")
        results += [_passes(one) for one in checks(entry.kind, plugin, quick=quick)]
    click.echo(f"{sum(results)} of {len(results)} checks passed")
    if not all(results):
        raise click.exceptions.Exit(1)


def _passes(one: Any) -> bool:
    """Run one check and print its line."""
    start, reason = time.perf_counter(), ""
    try:
        one()
    except AssertionError as error:
        reason = str(error) or "an assertion without a message failed"
    seconds, word = time.perf_counter() - start, "FAILED" if reason else "ok"
    click.echo(f"  {word:7s} {one.name:20s} {seconds:6.1f} s  {reason or one.promise}")
    return not reason


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
    """Split ``alpha=0.7`` into a key and a value, read as in a suite file."""
    import yaml

    from ..core.errors import BenchError

    key, equals, value = text.partition("=")
    if not key or not equals:
        raise BenchError(f"--param '{text}' is not of the form KEY=VALUE")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BenchError(f"--param {key}: '{value}' cannot be read as a value") from error
