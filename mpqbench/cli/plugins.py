"""``mpqbench list`` and ``info``: what can be chosen, without an import of torch or a plugin."""

import inspect
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from ..core.errors import BenchError, unknown
from ..core.listing import first_sentence, read_source
from ..core.protocol import PROTOCOLS
from ..core.recipe import Recipe
from ..core.registry import KINDS, PluginEntry, Registry, discover, parameters
from ..core.terminal import echo
from ..core.yaml_text import dump_yaml, read_yaml
from ..dit.zoo import CONFIGURATIONS, EMBEDDED, EMOJI, HUB_NAMES, MODELS, RANDOM_PREFIX
from ..lab.suites import built_in_suites, load_suite
from . import completion, options

EXTRA_KINDS = ("suite", "protocol", "model")
_NAME_WIDTH = 18
Row = dict[str, str]  # name, summary and origin


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]", shell_complete=completion.listed)
@click.option("--json", "as_json", is_flag=True,
              help="Print {kind: [{name, summary, origin}, ...]} and what is broken.")  # fmt: skip
@options.plugins
def list_plugins(kind: str | None, as_json: bool, plugins: tuple[Path, ...]) -> None:
    """List everything that can be chosen, or everything of KIND, with a sentence for each.

    KIND is transform, rounding, branch, searcher, objective, environment, tuner, correction or
    method, of which plugins may add more, or suite, protocol or model. A broken third-party
    package is named with the reason, and the others are listed.
    """
    known = (*KINDS, *EXTRA_KINDS)
    if kind is not None and kind not in known:
        raise unknown("plugin kind", kind, known)
    registry = discover(plugins)
    found = {each: _rows(each, registry) for each in ([kind] if kind else known)}
    if as_json:
        echo(json.dumps(found | {"broken": registry.broken}, indent=1))
        return
    for each, rows in found.items():
        echo(f"{each}:")
        for row in rows:
            # Built-in plugins need no origin.
            is_own = row["origin"].startswith("package mpqbench (")
            _show(row["name"], row["summary"] + ("" if is_own else f" [{row['origin']}]"))
    for origin, reason in registry.broken.items():
        echo(f"broken: {origin}: {reason}", err=True)


def _show(name: str, sentence: str) -> None:
    """Print a name and a sentence, in lines that fit the terminal; a pipe gets one line."""
    line, indent = f"  {name:{_NAME_WIDTH}s} {sentence}", " " * (_NAME_WIDTH + 3)
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        width = max(shutil.get_terminal_size().columns, 40)
        line = textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)
    echo(line)


@click.command("info")
@click.argument("name", shell_complete=completion.explained)
@options.plugins
def info(name: str, plugins: tuple[Path, ...]) -> None:
    """Explain NAME: a plugin with its parameters and file, a method, suite, protocol or model.

    NAME may be of any kind that 'mpqbench list' shows; a name of several kinds shows all of them.
    """
    registry = discover(plugins)
    own = {"suite": [*built_in_suites()], "protocol": [*PROTOCOLS], "model": [*MODELS]}
    kinds = [kind for kind, names in own.items() if name in names]
    entries = [e for kind in KINDS for e in registry.entries(kind) if e.name == name]
    if not entries and not kinds:
        registry.find(name, beside=[each for names in own.values() for each in names])
    for entry in entries:
        echo(f"{entry.kind} '{name}' of {entry.origin}")
        for line in _read(entry)[1]:
            echo(f"  {line}")
    for kind in kinds:
        echo(f"{kind} '{name}'")
        echo(textwrap.indent(_EXPLAIN[kind](name).rstrip(), "  "))


def _suite_text(name: str) -> str:
    path = built_in_suites()[name]
    lines = [line.strip("# ") for line in path.read_text("utf-8").splitlines() if line[:1] == "#"]
    fields = load_suite(name).model_dump(mode="json")
    fields["protocol"] = read_yaml(path).get("protocol", "quick")
    return "\n".join([*lines, _as_yaml(fields), f"file: {path}"])


def _protocol_text(name: str) -> str:
    fields = PROTOCOLS[name].model_dump(mode="json", exclude={"name"})
    return f"How images are made and judged: {_summary('protocol', name)}.\n{_as_yaml(fields)}"


def _model_text(name: str) -> str:
    fields = CONFIGURATIONS.get(name.removeprefix(RANDOM_PREFIX))
    return _summary("model", name) + ("" if fields is None else f"\n{_as_yaml(fields)}")


_EXPLAIN = {"suite": _suite_text, "protocol": _protocol_text, "model": _model_text}


def _as_yaml(fields: object) -> str:
    return dump_yaml(fields, width=90).rstrip()


def _summary(kind: str, name: str) -> str:
    return next(row["summary"] for row in _extra(kind) if row["name"] == name)


def _rows(kind: str, registry: Registry) -> list[Row]:
    """Return name, summary and origin of everything of a kind."""
    return [*(_extra(kind) if kind in EXTRA_KINDS else map(_row, registry.entries(kind)))]


def _row(entry: PluginEntry) -> Row:
    try:
        sentence = first_sentence(_read(entry)[0])
    except BenchError as error:
        sentence = f"broken: {error}"
    return {"name": entry.name, "summary": sentence, "origin": entry.origin}


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


def _extra(kind: str) -> Iterator[Row]:
    if kind == "suite":
        for name, path in built_in_suites().items():
            line = path.read_text(encoding="utf-8").partition("\n")[0]
            yield _own(name, line.removeprefix("# ") if line.startswith("#") else "")
    elif kind == "protocol":
        for p in PROTOCOLS.values():
            sampling = f"{p.steps} steps of {p.sampler}, guidance {p.guidance or 'own'}"
            yield _own(p.name, f"{p.images:,} images, {sampling}, features {p.features}")
    else:
        yield _own(EMBEDDED, "embedded: DiT, 12 blocks of width 128, trained on Fashion-MNIST")
        yield _own(EMOJI, "embedded: SD3's transformer, 6 blocks of width 192, trained on emoji")
        for name, hub in HUB_NAMES.items():
            yield _own(name, f"{hub} from the hub, or its cost without a download")
        for name in CONFIGURATIONS:
            yield _own(RANDOM_PREFIX + name, "random weights, for tests of speed and memory")
        yield _own("PATH", "the folder of a saved pipeline, or a hub id OWNER/NAME")


def _own(name: str, summary: str) -> Row:
    return {"name": name, "summary": summary, "origin": "package mpqbench ()"}
