"""``mpqbench info``: one plugin from inside."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

from .options import plugins_option


@click.command("info")
@click.argument("name")
@plugins_option
def info(name: str, plugins: tuple[Path, ...]) -> None:
    """Show the plugin or method NAME: what it does, its parameters, where it comes from.

    NAME may be of any kind that 'mpqbench list' shows: a transform, rounding, branch, searcher,
    objective, environment, tuner, correction or method. Where several kinds share it, all of them
    are shown.
    """
    from ..core.registry import discover

    for entry in discover(plugins).find(name):
        plugin = entry.load()
        click.echo(f"{entry.kind} '{entry.name}' of {entry.origin}")
        for line in _describe(plugin):
            click.echo(f"  {line}")


def _describe(plugin: Any) -> list[str]:
    from ..core.recipe import Recipe
    from ..core.registry import parameters

    if isinstance(plugin, Recipe):
        fields = plugin.model_dump(mode="json")
        return [f"{key}: {value}" for key, value in fields.items() if value not in ("", [], None)]
    lines = (inspect.getdoc(plugin) or "").splitlines()
    lines.append("parameters:" if parameters(plugin) else "no parameters")
    for key, default in parameters(plugin).items():
        lines.append(f"  {key} = {'(required)' if default is ... else repr(default)}")
    lines.append(f"file: {inspect.getsourcefile(plugin)}")
    return lines
