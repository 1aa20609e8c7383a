"""Read a plugin's source without importing the plugin, so that a listing does not load torch."""

import ast
import importlib.util
import inspect
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .sources import source_file


class Unreadable(Exception):
    """The source alone does not define the plugin: an import is needed."""


_WITHOUT_FIELDS = ("ABC", "Generic", "Protocol", "object")
_DATACLASS = ("dataclass", "plugin")  # decorators that make fields parameters


@dataclass(frozen=True)
class PluginSource:
    """A plugin class as its file defines it: docstring, parameters with defaults, file.

    A default is the text of its expression; a parameter without a default has None.
    """

    docstring: str
    parameters: dict[str, str | None]
    file: Path


def read_source(target: str) -> PluginSource | None:
    """Read the class of ``target``, a ``module:attribute`` string, from its module's source.

    Returns None where only an import can tell, such as for a recipe or a base without source.
    """
    module, _, attribute = target.partition(":")
    try:
        home, node = _definition(module, attribute)
        if not isinstance(node, ast.ClassDef):
            return None
        doc = inspect.cleandoc(ast.get_docstring(node) or "")
        return PluginSource(doc, _parameters(home, node), _module(home)[0])
    except Unreadable:
        return None


def first_sentence(doc: str) -> str:
    """Return the first sentence of a docstring in one line, without its marks of code."""
    paragraph = re.sub(r"``(\w+)``", r"'\1'", " ".join(doc.partition("\n\n")[0].split()))
    paragraph = paragraph.replace("``", "")
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph, maxsplit=1)[0]


@cache
def _module(name: str) -> tuple[Path, dict[str, ast.AST]]:
    """Return the file of a module, and the classes, imports and values of its top-level names."""
    file = source_file(name)
    if file is None:
        raise Unreadable(name)
    names: dict[str, ast.AST] = {}
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = node.value
    return file, names


def _definition(module: str, name: str) -> tuple[str, ast.AST]:
    """Return the module and the node that define ``name``, followed through imports."""
    file, names = _module(module)
    if name not in names:
        raise Unreadable(f"{module}:{name}")
    node = names[name]
    if not isinstance(node, ast.ImportFrom):
        return module, node
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
    alias = next(each for each in node.names if (each.asname or each.name) == name)
    return _definition(origin, alias.name)


def _parameters(module: str, node: ast.ClassDef) -> dict[str, str | None]:
    """Return the fields of a dataclass that its constructor takes, those of its bases first."""
    found: dict[str, str | None] = {}
    for base in reversed(node.bases):
        if ast.unparse(base).partition("[")[0] in _WITHOUT_FIELDS:
            continue
        home, origin = _definition(module, ast.unparse(base))
        if not isinstance(origin, ast.ClassDef):
            raise Unreadable(ast.unparse(base))
        found |= _parameters(home, origin)
    decorators = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
    if not any(each.endswith(_DATACLASS) for each in decorators):
        return found
    for field in node.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if "ClassVar" not in ast.unparse(field.annotation):
            found[field.target.id] = _default(module, field.value)
    return found


def _default(module: str, value: ast.AST | None) -> str | None:
    """Return the text of a default; the name of a constant is replaced with the constant."""
    if isinstance(value, ast.Name):
        return _default(*_definition(module, value.id))
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith(("field", "Field")):
        raise Unreadable(ast.unparse(value))
    return None if value is None or ast.unparse(value) == "..." else ast.unparse(value)
