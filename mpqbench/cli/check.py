"""``mpqbench check``: whether a plugin does what every plugin of its kind must do."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ..core.errors import BenchError, unknown
from ..core.recipe import SLOTS, PluginChoice
from ..core.registry import PluginEntry, Registry, discover
from ..core.terminal import echo, one_line
from ..core.yaml_text import parse_yaml
from . import completion, options


@click.command("check")
@click.argument("name", shell_complete=completion.plugins)
@click.option(
    "--kind",
    metavar="KIND",
    shell_complete=completion.slots,
    help="Kind of the plugin, where two share the name.",
)
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
    unchanged. Each check that passes prints a line, and each fault prints one: the checks that it
    fails, the line of the plugin's file, and what is wrong.

    Exit code 0 where all checks pass, 1 where one fails, 2 for a mistake in the command.

    \b
    Examples:
      mpqbench check nearest
      mpqbench check smooth --param alpha=0.7
      mpqbench check tss --quick
      mpqbench check mine --kind rounding --plugins mine.py
    """
    registry = discover(plugins)
    entries = _entries(registry, name, kind)
    values = dict(map(_parameter, params))

    from ..conformance import checks
    from ..conformance.check import fault

    total = failures = 0
    for entry in entries:
        plugin = registry.create(entry.kind, PluginChoice(name=name, params=values))
        echo(f"{entry.kind} '{name}' of {entry.origin}")
        faults: dict[str, tuple[str, list[str]]] = {}  # a sentence, and the checks that fail alike
        for one in checks(entry.kind, plugin, quick=quick):
            total, start = total + 1, time.perf_counter()
            try:
                one()
            except AssertionError as error:
                key, sentence = fault(error, plugin)
                faults.setdefault(key, (sentence, []))[1].append(one.name)
                continue
            seconds = time.perf_counter() - start
            echo(f"  ok      {one.name:12s} {seconds:6.1f} s  {one.promise}")
        for sentence, failed in faults.values():
            echo(f"  FAILED  {', '.join(failed)}: {one_line(sentence)}")
            failures += len(failed)
    echo(f"{total - failures} of {total} checks passed")
    if failures:
        raise click.exceptions.Exit(1)


def _entries(registry: Registry, name: str, kind: str | None) -> Iterable[PluginEntry]:
    if kind is not None:
        if kind not in SLOTS:
            raise unknown("kind of plugin to check", kind, SLOTS)
        return [registry.entry(kind, name)]
    known = {entry.name for each in SLOTS for entry in registry.entries(each)}
    if name in known:
        return [entry for entry in registry.find(name) if entry.kind in SLOTS]
    if name in {entry.name for entry in registry.entries("method")}:
        raise BenchError(f"method '{name}' is a recipe: check the plugins that 'info {name}' names")
    raise unknown("plugin", name, known)


def _parameter(text: str) -> tuple[str, Any]:
    """Split ``alpha=0.7`` into a key and a value, read as in a suite file."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise BenchError(f"--param '{text}' must be KEY=VALUE")
    return key.strip(), parse_yaml(value, f"--param {key}")
