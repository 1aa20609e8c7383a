"""mpqbench: the open benchmark suite for mixed-precision quantization of Diffusion Transformers.

``mpqbench.run``, ``mpqbench.table`` and the other names of ``mpqbench.api`` are imported when they
are first used, so that ``import mpqbench`` takes no time.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'mpqbench' has no attribute '{name}'")
    api = import_module("mpqbench.api")
    if name == "api":
        return api
    if name not in api.__all__:
        raise AttributeError(f"module 'mpqbench' has no attribute '{name}'")
    return getattr(api, name)


def __dir__() -> list[str]:
    return [*globals(), *import_module("mpqbench.api").__all__]
