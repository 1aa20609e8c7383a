"""The built-in suites, and reading a suite from a file."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from ...core.errors import BenchError, unknown
from ...core.protocol import PROTOCOLS, Protocol
from ...core.settings import validate
from ...core.suite import Suite
from ...core.yaml_text import read_yaml

GIVEN = "settings of this run"  # those that options and arguments give, not the file
_EXAMPLE = {"name": "example", "methods": ["rtn"], "budgets": ["W4A4"]}


def built_in_suites() -> dict[str, Path]:
    """Return the files of the suites inside the package, by name."""
    folder = Path(str(files("mpqbench.lab.suites")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_suite(name: str, overrides: dict[str, Any] | None = None) -> Suite:
    """Return a built-in suite, or the suite in a YAML file.

    ``overrides`` replaces values: it has keys of a suite, and under ``protocol`` keys of a
    protocol. Raises BenchError for unknown names and keys.
    """
    known = built_in_suites()
    if name in known:
        path = known[name]
    elif name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
    else:
        raise unknown("suite", name, known)
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise BenchError(f"{path}: a suite is a mapping with name, methods, budgets, ...")
    changes = dict(overrides or {})
    protocol = changes.pop("protocol", {})
    validate(Suite, _EXAMPLE | changes, GIVEN)
    validate(Protocol, PROTOCOLS["quick"].model_dump() | protocol, GIVEN)
    data = {"name": path.stem, **data} | changes
    suite = validate(Suite, data, str(path))
    merged = suite.protocol.model_dump() | protocol
    return validate(Suite, data | {"protocol": merged}, str(path))
