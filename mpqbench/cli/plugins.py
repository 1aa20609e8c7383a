"""``mpqbench list`` and ``mpqbench info``: show plugins, suites, protocols and models.

Neither imports torch.
"""

import inspect
from collections.abc import Iterable
from pathlib import Path

import click

from ..core.errors import BenchError, unknown
from ..core.listing import read_source
from ..core.protocol import PROTOCOLS
from ..core.recipe import Recipe
from ..core.registry import KINDS, PluginEntry, discover, parameters
from ..lab.suites import built_in_suites
from . import options

EXTRA_KINDS = ("suite", "protocol", "model")


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]")
@options.plugins
def list_plugins(kind: str | None, plugins: tuple[Path, ...]) -> None:
    """List everything that can be chosen, or everything of KIND.

    KIND is transform, rounding, branch, searcher, objective, environment, tuner, correction or
    method, of which plugins may add more, or suite, protocol or model. A broken third-party
    package is named with the reason, and the others are listed.
    """
    registry = discover(plugins)
    known = (*KINDS, *EXTRA_KINDS)
    for wanted in [kind] if kind else known:
        if wanted not in known:
            raise unknown("plugin kind", wanted, known)
        click.echo(f"{wanted}:")
        rows = _extra(wanted) if wanted in EXTRA_KINDS else map(_row, registry.entries(wanted))
        for name, line in rows:
            click.echo(f"  {name:18s} {line}")
    for origin, reason in registry.broken.items():
        click.echo(f"broken: {origin}: {reason}", err=True)


@click.command("info")
@click.argument("name")
@options.plugins
def info(name: str, plugins: tuple[Path, ...]) -> None:
    """Show the plugin or method NAME: what it does, its parameters and its file.

    NAME may be of any kind that 'mpqbench list' shows: a transform, rounding, branch, searcher,
    objective, environment, tuner, correction or method. A name of several kinds shows all of them.
    """
    for entry in discover(plugins).find(name):
        click.echo(f"{entry.kind} '{entry.name}' of {entry.origin}")
        for line in _read(entry)[1]:
            click.echo(f"  {line}")


def _row(entry: PluginEntry) -> tuple[str, str]:
    """Return name and one line, with the origin of a plugin that is not built in."""
    origin = "" if entry.origin.startswith("package mpqbench (") else f" [{entry.origin}]"
    try:
        return entry.name, _read(entry)[0].partition("\n")[0] + origin
    except BenchError as error:
        return entry.name, f"broken: {error}"


def _read(entry: PluginEntry) -> tuple[str, list[str]]:
    """Return the docstring of a plugin, or the summary of a method, and the lines of ``info``."""
    source = read_source(entry.target) if isinstance(entry.target, str) else None
    if source is not None:
        doc, defaults, file = source.docstring, source.parameters, str(source.file)
    else:
        plugin = entry.load()
        if isinstance(plugin, Recipe):
            fields = plugin.model_dump(mode="json").items()
            return plugin.summary, [f"{k}: {v}" for k, v in fields if v not in ("", [], None)]
        doc, file = inspect.getdoc(plugin) or "", str(inspect.getsourcefile(plugin))
        defaults = {k: None if v is ... else repr(v) for k, v in parameters(plugin).items()}
    shown = [f"  {key} = {value or '(required)'}" for key, value in defaults.items()]
    heading = "parameters:" if defaults else "no parameters"
    return doc, [*doc.splitlines(), heading, *shown, f"file: {file}"]


def _extra(kind: str) -> Iterable[tuple[str, str]]:
    from ..dit.zoo import CONFIGURATIONS, EMBEDDED, HUB_NAMES, RANDOM_PREFIX

    if kind == "suite":
        for name, path in built_in_suites().items():
            line = path.read_text().partition("\n")[0]
            yield name, line.removeprefix("# ") if line.startswith("#") else ""
    elif kind == "protocol":
        for p in PROTOCOLS.values():
            sampling = f"{p.sampler} {p.steps}, guidance {p.guidance}, {p.features}"
            yield p.name, f"{p.images} images, {sampling}"
    else:
        yield EMBEDDED, "embedded: 12 blocks of width 128, trained on Fashion-MNIST"
        yield from ((name, f"from the hub: {hub}") for name, hub in HUB_NAMES.items())
        yield from ((RANDOM_PREFIX + x, "random weights, for speed tests") for x in CONFIGURATIONS)
        yield "PATH", "any saved DiTPipeline folder, or a hub id OWNER/NAME"
