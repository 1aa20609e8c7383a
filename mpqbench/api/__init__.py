"""The Python calls of mpqbench, which the command line makes too.

Every name is also one of ``mpqbench`` itself, as in ``mpqbench.run("smoke")``. A module is imported
when a name of it is first used: reading records and making tables imports no torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Quantized": "models",
    "Results": "jobs",
    "ablate": "studies",
    "figure": "results",
    "figures": "results",
    "load_model": "models",
    "load_records": "results",
    "quantize": "models",
    "run": "jobs",
    "score": "scores",
    "status": "results",
    "study": "studies",
    "table": "results",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mpqbench.api' has no attribute '{name}'")
    return getattr(import_module(f"mpqbench.api.{_HOMES[name]}"), name)
