"""Functions, classes and constants that a plugin could replace in the code of others."""

import builtins
import sys
from collections.abc import Iterator
from itertools import compress, repeat
from operator import is_not
from types import FunctionType, ModuleType
from typing import Any

# Modules whose functions decide numbers, each with all below where the name ends with a dot.
_MODULES = (
    "builtins", "json", "math", "os", "random", "time",
    "numpy", "numpy.fft", "numpy.linalg", "numpy.random", "scipy.linalg",
    "torch", "torch.autograd", "torch.fft", "torch.functional", "torch.linalg", "torch.nn",
    "torch.nn.functional", "torch.nn.init", "torch.nn.modules.", "torch.special", "torch._tensor",
    "diffusers.models.", "mpqbench.", "mpqbench_plugin_",
)  # fmt: skip
_OWN = ("mpqbench.", "mpqbench_plugin_")  # of these, classes and constants count as well
_MISSING = object()


class Patches:
    """The values behind all watched names, as they were when their module was first seen."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[Any, frozenset[str], dict[str, Any]]] = {}
        self.extend()

    def extend(self) -> None:
        """Watch what was loaded since."""
        for owner, thing in _owners():
            if owner not in self._before:
                self._before[owner] = thing, frozenset(vars(thing)), _values(thing)

    def changed(self) -> Iterator[tuple[str, Any, str, Any]]:
        """Yield the name, its owner, its last part and the value of before of each change.

        A name that is new and hides another one was ``_MISSING`` before.
        """
        for owner, (thing, names, values) in self._before.items():
            now = vars(thing)
            found = map(now.get, values, repeat(_MISSING))
            # Without Python code for each name, as there are tens of thousands.
            for name in compress(values, map(is_not, found, values.values())):
                yield f"{owner}.{name}", thing, name, values[name]
            for name in now.keys() - names if len(now) != len(names) else ():
                if _hides(thing, name, now[name]):
                    yield f"{owner}.{name}", thing, name, _MISSING

    def restore(self) -> list[str]:
        """Undo every change and return the names."""
        found = list(self.changed())
        for _, thing, name, value in found:
            if value is _MISSING:
                delattr(thing, name)
            else:
                setattr(thing, name, value)
        return [name for name, *_ in found]


def _owners() -> Iterator[tuple[str, Any]]:
    """Yield watched modules that are loaded, and the classes that they define."""
    import torch

    yield "torch.Tensor", torch.Tensor
    for path, module in sys.modules.copy().items():  # other threads may import
        if not isinstance(module, ModuleType):
            continue
        if path not in _MODULES and not path.startswith(_BELOW):
            continue
        yield path, module
        if path.startswith(_BELOW):
            for name, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__ == path:
                    yield f"{path}.{name}", value


_BELOW = tuple(name for name in _MODULES if name.endswith((".", "_")))


def _values(thing: Any) -> dict[str, Any]:
    """Return what is compared: what can be called, and all public names in code of the harness."""
    own = isinstance(thing, ModuleType) and thing.__name__.startswith(_OWN)
    return {
        name: value
        for name, value in vars(thing).items()
        if callable(value)
        or isinstance(value, property | classmethod | staticmethod)
        or (own and name.isupper())
    }


def _hides(thing: Any, name: str, value: Any) -> bool:
    """Return whether a name that is new stands before one of the same name that is not."""
    if isinstance(thing, type):
        known = any(name in vars(base) for base in thing.__mro__[1:])
        return known and callable(value) and not name.startswith("__abc")
    return name in vars(builtins) and isinstance(value, FunctionType) and name[0] != "_"
