"""Digests of source code: a result is valid as long as the code that can change it is the same."""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from itertools import accumulate
from pathlib import Path
from types import FunctionType, ModuleType

from .settings import digest_of

PACKAGE = Path(__file__).resolve().parents[1]
# What cannot change the record of a job: code that plans, reads, checks and shows, and plugins,
# which a recipe names and which have digests of their own. All other files of the package count.
NO_RESULT = ("__main__.py", "api", "baselines", "cli", "conformance", "lab", "methods", "report")


@cache
def harness_digest(without: tuple[str, ...] = ()) -> str:
    """Return the digest of all files of the package that can change a record.

    ``without`` names folders that cannot change the result in question.
    """
    return _digest(harness_files(without))


@cache
def harness_files(without: tuple[str, ...] = ()) -> frozenset[Path]:
    """Return the files of ``harness_digest``."""
    skipped = {*NO_RESULT, *without}
    files = [path for ending in ("*.py", "*.cpp") for path in PACKAGE.rglob(ending)]
    return frozenset(f for f in files if f.relative_to(PACKAGE).parts[0] not in skipped)


def folder_digest(folder: str) -> str:
    """Return the digest of the files in a folder of the package, such as ``lab/study``."""
    return _digest((PACKAGE / folder).rglob("*.py"))


def plugin_digest(modules: Iterable[ModuleType]) -> str:
    """Return the digest of the files that a plugin of these modules depends on.

    These are the files that the modules load, directly or not: what imports lead to, also inside
    functions, by a constant name or through a module, class or function among the values of a
    module; the files that constants name, such as a table beside the plugin; and all files of the
    package of a plugin. Files of site-packages count where they belong to that package alone, and
    files of the harness have their own digest. A module with a table ``PLUGINS`` counts only where
    it holds the plugin.
    """
    found: set[Path] = set()
    for module in modules:
        assert module.__file__ is not None
        found |= _loaded(module.__name__, Path(module.__file__).resolve())
        found |= _package_files(module)
    return _digest(found)


def _digest(files: Iterable[Path]) -> str:
    return digest_of(sorted([path.name, read_digest(path)] for path in files))


def read_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _package_files(module: ModuleType) -> set[Path]:
    """Return all files of the top package of a module, none for a package of the harness."""
    top = sys.modules.get(module.__name__.partition(".")[0])
    if top is None or top.__name__ == PACKAGE.name:
        return set()
    return {
        path.resolve()
        for folder in getattr(top, "__path__", ())
        for path in Path(folder).rglob("*")
        if path.is_file() and not {"__pycache__", ".git"} & set(path.parts)
    }


def _loaded(name: str, file: Path) -> set[Path]:
    package, found, ahead = name.partition(".")[0], {file}, [(name, file)]
    while ahead:
        module, path = ahead.pop()
        tree = _tree(path)
        found |= set(_named_files(path, tree)) - harness_files()
        for imported in (*_imports(module, path, tree), *_values(module)):
            where = _project_file(imported, package)
            if where is not None and where not in found and where not in harness_files():
                found.add(where)
                ahead.append((imported, where))
    return found


def _tree(file: Path) -> ast.AST:
    """Return the syntax tree of a file, an empty one where the file is no Python."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _named_files(file: Path, tree: ast.AST) -> Iterator[Path]:
    """Yield the files, seen from the folder of ``file`` or from here, that constants name."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for text in texts:
        if isinstance(text, str) and 2 < len(text) < 200 and "." in text and text.isprintable():
            for path in (file.parent / text, Path(text)):
                if path.is_file():
                    yield path.resolve()


def _values(name: str) -> Iterator[str]:
    """Yield the modules among the values of module ``name``, and those where values come from.

    A module below a package is a value of the package as soon as anyone imports that module: such
    values do not count.
    """
    module = sys.modules.get(name)
    for value in () if module is None else list(vars(module).values()):
        if isinstance(value, ModuleType) and not value.__name__.startswith(f"{name}."):
            yield value.__name__
        elif isinstance(value, type | FunctionType):
            yield value.__module__


def _imports(name: str, file: Path, tree: ast.AST) -> Iterator[str]:
    """Yield all modules that the file of module ``name`` may import, and their packages."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)] if base else []
        elif isinstance(node, ast.Call) and node.args and _is_import(node.func):
            text = getattr(node.args[0], "value", None)
            names += [_absolute(text, package)] if isinstance(text, str) else []
    names = [each for each in names if each]
    yield from names
    for each in (name, *names):
        for parent in accumulate(each.split(".")[:-1], "{}.{}".format):
            if not hasattr(sys.modules.get(parent), "PLUGINS"):  # which only registers plugins
                yield parent


def _absolute(name: str, package: str) -> str:
    """Return the full name of a module, nothing for a relative one outside a package."""
    try:
        return importlib.util.resolve_name(name, package)
    except ImportError:
        return ""


def _is_import(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


@cache
def _project_file(name: str, package: str) -> Path | None:
    """Return the file of a module, where it lies in mpqbench, in ``package`` or in a project."""
    top = name.partition(".")[0]
    if top not in (package, PACKAGE.name) and not _is_project(_spec(top)):
        return None
    spec = _spec(name)
    file = None if spec is None or not spec.has_location else Path(str(spec.origin))
    return file.resolve() if file is not None and file.is_file() else None


def _is_project(spec: ModuleSpec | None) -> bool:
    places = () if spec is None else (spec.origin, *(spec.submodule_search_locations or ()))
    paths = [Path(place) for place in places if place and Path(place).exists()]
    standard = Path(sysconfig.get_path("stdlib"))
    return any(
        not path.is_relative_to(standard)
        and not {"site-packages", "dist-packages"} & set(path.parts)
        for path in paths
    )


def source_file(name: str) -> Path | None:
    """Return the Python file of a module, which is not imported; ``None`` where there is none."""
    spec = _spec(name)
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except Exception:  # no such module, or whatever a parent package raises
        return None
