"""What a plugin's source says, read without importing the plugin: listing must not load torch."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import BenchError


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

    Returns None where the attribute is no class, such as a recipe. Raises BenchError where the
    module or the attribute is not found. Python imports the parent package of the module.
    """
    module, _, attribute = target.partition(":")
    found = _definition(module, attribute)
    if found is None:
        raise BenchError(f"{target} does not exist")
    home, node = found
    if not isinstance(node, ast.ClassDef):
        return None
    doc = inspect.cleandoc(ast.get_docstring(node) or "")
    return PluginSource(doc, _parameters(home, node), _module(home)[0])


@cache
def _module(name: str) -> tuple[Path, dict[str, ast.AST]]:
    """Return the file of a module, and the classes, imports and values of its top-level names."""
    try:
        spec = importlib.util.find_spec(name)
    except Exception as error:  # finding a submodule runs its parent package
        raise BenchError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise BenchError(f"{name} is not a module with a Python source file")
    names: dict[str, ast.AST] = {}
    for node in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(node, ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            names |= {each.id: value for each, value in pairs if isinstance(each, ast.Name)}
    return Path(spec.origin), names


def _definition(module: str, name: str) -> tuple[str, ast.AST] | None:
    """Return the module and the node that define ``name``, followed through imports."""
    file, names = _module(module)
    node = names.get(name)
    if not isinstance(node, ast.ImportFrom):
        return None if node is None else (module, node)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
    alias = next(each for each in node.names if (each.asname or each.name) == name)
    return _definition(origin, alias.name)


def _parameters(module: str, node: ast.ClassDef) -> dict[str, str | None]:
    """Return the fields of a dataclass that its constructor takes, those of its bases first."""
    found: dict[str, str | None] = {}
    for base in reversed(node.bases):
        origin = _definition(module, base.id) if isinstance(base, ast.Name) else None
        if origin is not None and isinstance(origin[1], ast.ClassDef):
            found |= _parameters(origin[0], origin[1])
    if not any("dataclass" in ast.unparse(each) for each in node.decorator_list):
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
        origin = _definition(module, value.id)
        if origin is not None and isinstance(origin[1], ast.expr):
            return _default(*origin)
    return None if value is None else ast.unparse(value)
