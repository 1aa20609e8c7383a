"""``mpqbench check``: test whether a plugin does what its contract says."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import yaml

from ..core.errors import BenchError, unknown
from ..core.recipe import PluginChoice
from ..core.registry import PluginEntry, Registry, discover
from . import options


@click.command("check")
@click.argument("name")
@click.option("--kind", metavar="KIND", help="Kind of the plugin, where two share the name.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE",
              help="Parameter of the plugin; repeatable.")  # fmt: skip
@click.option("--quick/--full", default=None,
              help="Few cases, or all.  [default: few for a slow plugin]")  # fmt: skip
@options.plugins
def check(
    name: str, kind: str | None, params: tuple[str, ...], quick: bool | None,
    plugins: tuple[Path, ...],
) -> None:  # fmt: skip
    """Check that the plugin NAME does what every plugin of its kind must do.

    Results must have the right shapes, fit in their bits, be finite and repeatable; costs must be
    as declared; budgets must be kept; arguments, models and global random generators must be left
    unchanged. Each check prints a line. A fault that fails several checks is printed once.

    Exit code 0 where all checks pass, 1 where one fails, 2 for a mistake in the command.

    \b
    Examples:
      mpqbench check nearest
      mpqbench check smooth --param alpha=0.7
      mpqbench check tss --quick
      mpqbench check mine --kind rounding --plugins mine.py
    """
    from ..conformance import checks

    registry = discover(plugins)
    values = dict(map(_parameter, params))
    total, failures = 0, []
    for entry in _entries(registry, name, kind):
        plugin = registry.create(entry.kind, PluginChoice(name=name, params=values))
        click.echo(f"{entry.kind} '{name}' of {entry.origin}")
        for one in checks(entry.kind, plugin, quick=quick):
            total += 1
            start, text, verdict = time.perf_counter(), one.promise, "ok"
            try:
                one()
            except AssertionError as error:
                text = "as above" if str(error) in failures else str(error)
                failures.append(str(error))
                verdict = "FAILED"
            seconds = time.perf_counter() - start
            click.echo(f"  {verdict:7s} {one.name:12s} {seconds:6.1f} s  {text}")
    click.echo(f"{total - len(failures)} of {total} checks passed")
    if failures:
        raise click.exceptions.Exit(1)


def _entries(registry: Registry, name: str, kind: str | None) -> Iterable[PluginEntry]:
    from ..conformance import KINDS

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
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise BenchError(f"--param '{text}' must be KEY=VALUE")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BenchError(f"--param {key}: '{value}' is not a YAML value") from error
