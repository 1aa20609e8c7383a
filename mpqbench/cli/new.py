"""``mpqbench new``: write a plugin, a method or a package to start from, with its test."""

import importlib.util
import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from ..core.errors import BenchError, unknown
from ..core.files import write_atomic
from ..core.recipe import SLOTS
from ..core.registry import discover
from ..core.terminal import echo
from . import completion

PACKAGE = "package"
WRITTEN = (*SLOTS, "method", PACKAGE)
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.command("new")
@click.argument("kind", shell_complete=completion.written)
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("."),
              metavar="DIR", help="Folder of the files.  [default: here]")  # fmt: skip
def new(kind: str, name: str, out: Path) -> None:
    """Write a working plugin NAME of KIND, a method or a package, and its test.

    KIND is transform, rounding, branch, searcher, objective, environment, tuner, correction or
    method, or package: a folder to install, with a rounding and the entry point of its plugins.

    \b
    Examples:
      mpqbench new rounding my-rounding
      mpqbench new transform my-basis --out plugins
      mpqbench new method my-method
      mpqbench new package my-package
    """
    if kind not in WRITTEN:
        raise unknown("kind to write", kind, WRITTEN)
    _check_name(kind, name)
    module = name.replace("-", "_")
    words = {"name": name, "module": module, "class_name": _class_name(name), "kind": kind}
    if kind == PACKAGE:
        _write(_package(words), out / name, words)
        echo(f"wrote {out / name}; its rounding works already. Next:")
        echo(f"  install  pip install -e {out / name}")
        echo(f"  check    mpqbench check {name}")
        echo(f"  test     pytest {out / name}")
        echo(f"  use      rounding: {name} in a method of a suite")
        return
    test = "method_test" if kind == "method" else "test"
    written = {f"{module}.py": _template(kind), f"test_{module}.py": _template(test)}
    _write(written, out, words)
    plugin = out / f"{module}.py"
    use = f"{kind}: {name} in a method of a suite, run with --plugins {plugin}"
    check = f"mpqbench check {name} --plugins {plugin}"
    if kind == "method":
        check = f"mpqbench run smoke -n --method {name} --plugins {plugin}"
        use = f"mpqbench run --method {name} --plugins {plugin}"
    echo(f"wrote {plugin} and {out / f'test_{module}.py'}; the {kind} works already. Next:")
    echo(f"  edit   {plugin}")
    echo(f"  check  {check}")
    echo(f"  test   pytest {out / f'test_{module}.py'}")
    echo(f"  use    {use}")


def _package(words: dict[str, str]) -> dict[str, str]:
    """Return the texts of a package by path, with its rounding from the template of one."""
    module = words["module"]
    rounding = _template("rounding").partition("\n\nPLUGINS")[0].rstrip() + "\n"
    test = _template("test").replace("from $module ", "from $module.plugins ")
    return {
        "pyproject.toml": _template("package"),
        "README.md": _template("package_readme"),
        f"{module}/__init__.py": _template("package_init"),
        f"{module}/plugins.py": rounding,
        "tests/test_plugins.py": test.replace('"$kind"', '"rounding"').replace("$kind", "rounding"),
    }


def _template(name: str) -> str:
    folder = files("mpqbench.cli") / "templates"
    suffix = {"package": "toml", "package_readme": "md"}.get(name, "py")
    return (folder / f"{name}.{suffix}.template").read_text(encoding="utf-8")


def _write(templates: dict[str, str], folder: Path, words: dict[str, str]) -> None:
    """Write all files, or none where one exists."""
    for path in (folder / name for name in templates):
        if path.exists():
            raise BenchError(f"{path} exists already: choose another name or --out")
    for name, template in templates.items():
        write_atomic(folder / name, Template(template).substitute(words).encode())


def _check_name(kind: str, name: str) -> None:
    """Raise BenchError for a name that is badly formed, taken, or hides another module."""
    module = name.replace("-", "_")
    reserved = keyword.iskeyword(module) or keyword.iskeyword(_class_name(name))
    if not _NAME.fullmatch(name) or len(name) > 40 or reserved:
        raise BenchError(
            f"'{name}' is not a name: use up to 40 lower-case letters and digits, with hyphens "
            "between words, such as my-rounding"
        )
    for entry in discover().entries("rounding" if kind == PACKAGE else kind):
        if entry.name == name:
            raise BenchError(f"{kind} '{name}' is taken by {entry.origin}: choose another name")
    if module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
        raise BenchError(f"'{name}' would hide the installed module '{module}': choose another")


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))
