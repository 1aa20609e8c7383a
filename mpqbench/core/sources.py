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
from types import ModuleType

from .settings import digest_of

PACKAGE = Path(__file__).resolve().parents[1]
# What cannot change the record of a job: code that plans, reads, checks and shows, and plugins,
# which a recipe names and which have digests of their own. All other files of the package count.
NO_RESULT = ("__main__.py", "api.py", "baselines", "cli", "conformance", "lab", "methods", "report")


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
    files = PACKAGE.rglob("*.py")
    return frozenset(f for f in files if f.relative_to(PACKAGE).parts[0] not in skipped)


def folder_digest(folder: str) -> str:
    """Return the digest of the files in a folder of the package, such as ``lab/study``."""
    return _digest((PACKAGE / folder).rglob("*.py"))


def plugin_digest(module: ModuleType) -> str:
    """Return the digest of the files that a plugin's module loads, directly or not.

    These are the module's file and those that its imports lead to, also imports inside functions:
    the files of its package, and of projects outside site-packages. Files of the harness have
    their own digest. A module with a table ``PLUGINS`` counts only where it holds the plugin.
    """
    assert module.__file__ is not None
    return _digest(_loaded(module.__name__, Path(module.__file__).resolve()))


def _digest(files: Iterable[Path]) -> str:
    return digest_of(sorted([path.name, read_digest(path)] for path in files))


def read_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _loaded(name: str, file: Path) -> set[Path]:
    package, found, ahead = name.partition(".")[0], {file}, [(name, file)]
    while ahead:
        for imported in _imports(*ahead.pop()):
            path = _project_file(imported, package)
            if path is not None and path not in found and path not in harness_files():
                found.add(path)
                ahead.append((imported, path))
    return found


def _imports(name: str, file: Path) -> Iterator[str]:
    """Yield all modules that the file of module ``name`` may import, and their packages."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    names = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    yield from names
    for each in (name, *names):
        for parent in accumulate(each.split(".")[:-1], "{}.{}".format):
            if not hasattr(sys.modules.get(parent), "PLUGINS"):  # which only registers plugins
                yield parent


@cache
def _project_file(name: str, package: str) -> Path | None:
    """Return the file of a module, where it lies in mpqbench, in ``package`` or in a project."""
    top = name.partition(".")[0]
    if top not in (package, PACKAGE.name) and not _is_project(_spec(top)):
        return None
    file = source_file(name)
    return None if file is None else file.resolve()


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
