"""``mpqbench new``: write a template of a plugin, with its test."""

import importlib.util
import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from ..core.errors import BenchError, unknown
from ..core.recipe import SLOTS as KINDS
from ..core.registry import discover

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
    if kind not in KINDS:
        raise unknown("kind of plugin to write", kind, KINDS)
    _check_name(kind, name)
    module = name.replace("-", "_")
    words = {"name": name, "module": module, "class_name": _class_name(name), "kind": kind}
    plugin, test = out / f"{module}.py", out / f"test_{module}.py"
    for path in (plugin, test):
        if path.exists():
            raise BenchError(f"{path} exists already: choose another name or --out")
    out.mkdir(parents=True, exist_ok=True)
    for path, source in ((plugin, f"{kind}.py.template"), (test, "test.py.template")):
        template = (files("mpqbench.cli") / "templates" / source).read_text()
        path.write_text(Template(template).substitute(words))
    click.echo(f"wrote {plugin} and {test}; the plugin works already. Next:")
    click.echo(f"  edit   {plugin}")
    click.echo(f"  check  mpqbench check {name} --plugins {plugin}")
    click.echo(f"  test   pytest {test}")
    click.echo(f"  use    {kind}: {name} in a method of a suite, run with --plugins {plugin}")


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
