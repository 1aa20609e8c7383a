"""``mpqbench list``: what there is to choose from."""

from __future__ import annotations

from pathlib import Path

import click

from .options import plugins_option

EXTRA_KINDS = ("suite", "protocol", "model")


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]")
@plugins_option
def list_plugins(kind: str | None, plugins: tuple[Path, ...]) -> None:
    """List everything there is to choose from, or what is of KIND.

    KIND is transform, rounding, branch, searcher, objective, environment, tuner, correction or
    method, all of which plugins may add, or suite, protocol or model. A broken third-party package
    is named with its reason and stops nothing.
    """
    from ..core.errors import unknown
    from ..core.registry import KINDS, discover

    registry = discover(plugins)
    kinds = [kind] if kind else [*KINDS, *EXTRA_KINDS]
    for wanted in kinds:
        if wanted not in (*KINDS, *EXTRA_KINDS):
            raise unknown("plugin kind", wanted, (*KINDS, *EXTRA_KINDS))
        rows = _extra(wanted) if wanted in EXTRA_KINDS else _plugins(registry, wanted)
        click.echo(f"{wanted}:")
        for name, line in rows:
            click.echo(f"  {name:18s} {line}")
    for origin, reason in registry.broken.items():
        click.echo(f"broken: {origin}: {reason}", err=True)


def _plugins(registry, kind: str) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
    from ..core.errors import BenchError

    rows = []
    for entry in registry.entries(kind):
        try:
            rows.append((entry.name, f"{summary(entry.load())}{_from(entry.origin)}"))
        except BenchError as error:
            rows.append((entry.name, f"broken: {error}"))
    return rows


def _from(origin: str) -> str:
    """Where a plugin comes from, said only of those that are not built in."""
    return "" if origin.startswith("package mpqbench (") else f" [{origin}]"


def summary(plugin: object) -> str:
    """One line about a plugin or a recipe."""
    line = getattr(plugin, "summary", None)
    if isinstance(line, str):
        return line
    doc = getattr(plugin, "__doc__", None) or ""
    return doc.strip().splitlines()[0] if doc.strip() else ""


def _extra(kind: str) -> list[tuple[str, str]]:
    from ..core.protocol import PROTOCOLS
    from ..dit.zoo import CONFIGURATIONS, EMBEDDED, HUB_NAMES, RANDOM_PREFIX
    from ..lab.suites import built_in_suites

    if kind == "suite":
        return [(name, _first_comment(path)) for name, path in built_in_suites().items()]
    if kind == "protocol":
        return [
            (
                p.name,
                f"{p.images} images, {p.sampler} {p.steps}, guidance {p.guidance}, {p.features}",
            )
            for p in PROTOCOLS.values()
        ]
    return [
        (EMBEDDED, "embedded: 12 blocks of width 128, trained on Fashion-MNIST"),
        *((name, f"from the hub: {hub}") for name, hub in HUB_NAMES.items()),
        *((RANDOM_PREFIX + name, "random weights, for speed tests") for name in CONFIGURATIONS),
        ("PATH", "any saved DiTPipeline folder, or a hub id OWNER/NAME"),
    ]


def _first_comment(path: Path) -> str:
    line = path.read_text().splitlines()[0]
    return line.removeprefix("# ") if line.startswith("#") else ""
