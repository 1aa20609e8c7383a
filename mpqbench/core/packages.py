"""Optional packages: which are here, and how the others are installed."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

from .errors import BenchError


def requirements() -> Iterator[tuple[str, str]]:
    """Yield the packages that mpqbench declares, each with its extra, empty where required."""
    try:
        declared = requires("mpqbench") or ()
    except PackageNotFoundError:  # run from its sources
        declared = ()
    for text in declared:
        name = re.match(r"[\w.-]+", text)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        if name is not None:
            yield name[0], extra[1] if extra else ""


def advice(package: str, extra: str = "") -> str:
    """Return the command that installs a package, by its extra in a clone of mpqbench."""
    return f"pip install '.[{extra}]' in a clone of mpqbench" if extra else f"pip install {package}"


def check_package(package: str, user: str) -> None:
    """Raise BenchError where a module that ``user`` imports is not installed."""
    if find_spec(package) is None:
        extra = next((extra for name, extra in requirements() if name == package and extra), "")
        raise BenchError(f"{user} needs the package {package}: {advice(package, extra)}")
