"""``mpqbench list``, ``info``, ``check`` and ``new``: show, test and begin plugins.

Only ``check`` imports torch.
"""

import importlib.util
import inspect
import keyword
import re
import sys
import time
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import click
import yaml

from ..core.errors import BenchError, unknown
from ..core.listing import read_source
from ..core.protocol import PROTOCOLS
from ..core.recipe import SLOTS, PluginChoice, Recipe
from ..core.registry import KINDS, PluginEntry, Registry, discover, parameters
from ..core.terminal import echo
from ..dit.zoo import CONFIGURATIONS, EMBEDDED, HUB_NAMES, RANDOM_PREFIX
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
        echo(f"{wanted}:")
        rows = _extra(wanted) if wanted in EXTRA_KINDS else map(_row, registry.entries(wanted))
        for name, line in rows:
            echo(f"  {name:18s} {line}")
    for origin, reason in registry.broken.items():
        echo(f"broken: {origin}: {reason}", err=True)


@click.command("info")
@click.argument("name")
@options.plugins
def info(name: str, plugins: tuple[Path, ...]) -> None:
    """Show the plugin or method NAME: what it does, its parameters and its file.

    NAME may be of any kind that 'mpqbench list' shows: a transform, rounding, branch, searcher,
    objective, environment, tuner, correction or method. A name of several kinds shows all of them.
    """
    for entry in discover(plugins).find(name):
        echo(f"{entry.kind} '{entry.name}' of {entry.origin}")
        for line in _read(entry)[1]:
            echo(f"  {line}")


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
    if kind == "suite":
        for name, path in built_in_suites().items():
            line = path.read_text(encoding="utf-8").partition("\n")[0]
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
        echo(f"{entry.kind} '{name}' of {entry.origin}")
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
            echo(f"  {verdict:7s} {one.name:12s} {seconds:6.1f} s  {text}")
    echo(f"{total - len(failures)} of {total} checks passed")
    if failures:
        raise click.exceptions.Exit(1)


def _entries(registry: Registry, name: str, kind: str | None) -> Iterable[PluginEntry]:
    from ..conformance import KINDS as CHECKED

    if kind is not None:
        if kind not in CHECKED:
            raise unknown("kind of plugin to check", kind, CHECKED)
        return [registry.entry(kind, name)]
    known = {entry.name for each in CHECKED for entry in registry.entries(each)}
    if name in known:
        return [entry for entry in registry.find(name) if entry.kind in CHECKED]
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


_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.command("new")
@click.argument("kind")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("."),
              metavar="DIR", help="Folder of the files.  [default: here]")  # fmt: skip
def new(kind: str, name: str, out: Path) -> None:
    """Write a working plugin NAME of KIND, and its test.

    KIND is transform, rounding, branch, searcher, objective, environment, tuner or correction.

    \b
    Examples:
      mpqbench new rounding my-rounding
      mpqbench new searcher my-search
      mpqbench new transform my-basis --out plugins
    """
    if kind not in SLOTS:
        raise unknown("kind of plugin to write", kind, SLOTS)
    _check_name(kind, name)
    module = name.replace("-", "_")
    words = {"name": name, "module": module, "class_name": _class_name(name), "kind": kind}
    plugin, test = out / f"{module}.py", out / f"test_{module}.py"
    for path in (plugin, test):
        if path.exists():
            raise BenchError(f"{path} exists already: choose another name or --out")
    out.mkdir(parents=True, exist_ok=True)
    for path, source in ((plugin, f"{kind}.py.template"), (test, "test.py.template")):
        template = (files("mpqbench.cli") / "templates" / source).read_text(encoding="utf-8")
        path.write_text(Template(template).substitute(words), encoding="utf-8")
    echo(f"wrote {plugin} and {test}; the plugin works already. Next:")
    echo(f"  edit   {plugin}")
    echo(f"  check  mpqbench check {name} --plugins {plugin}")
    echo(f"  test   pytest {test}")
    echo(f"  use    {kind}: {name} in a method of a suite, run with --plugins {plugin}")


def _check_name(kind: str, name: str) -> None:
    """Raise BenchError for a name that is badly formed, taken, or hides another module."""
    module = name.replace("-", "_")
    reserved = keyword.iskeyword(module) or keyword.iskeyword(_class_name(name))
    if not _NAME.fullmatch(name) or len(name) > 40 or reserved:
        raise BenchError(
            f"'{name}' is not a name: use up to 40 lower-case letters and digits, with hyphens "
            "between words, such as my-rounding"
        )
    for entry in discover().entries(kind):
        if entry.name == name:
            raise BenchError(f"{kind} '{name}' is taken by {entry.origin}: choose another name")
    if module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
        raise BenchError(f"'{name}' would hide the installed module '{module}': choose another")


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))
