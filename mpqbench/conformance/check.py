"""The check itself, and what checks of every kind share."""

from __future__ import annotations

import dataclasses
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

Result = TypeVar("Result")


@dataclass(frozen=True)
class Check:
    """One promise of one plugin. Calling it raises AssertionError where the promise is broken."""

    name: str
    promise: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Run it; whatever the plugin's results make fail is a broken promise too."""
        try:
            self.run()
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(
                f"its results could not be used: {type(error).__name__}: {error}"
            ) from error

    def __str__(self) -> str:
        return self.name


def check_of(method: Callable[[], None], name: str = "") -> Check:
    """A check from a method: its name, and the first line of its docstring as the promise."""
    promise = (inspect.getdoc(method) or "").splitlines()[0].replace("``", "")
    return Check(name or method.__name__.replace("_", "-"), promise, method)


def expect(condition: Any, sentence: str) -> None:
    """AssertionError with ``sentence`` unless ``condition`` holds (also under ``python -O``)."""
    if not condition:
        raise AssertionError(sentence)


EVERY_LAYER = "every finite layer must have an answer"


def attempt(
    where: object, what: str, call: Callable[[], Result], promise: str = EVERY_LAYER
) -> Result:
    """The result of ``call``; an exception of the plugin becomes a sentence that names the case."""
    try:
        return call()
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(
            f"{where}: {what} raised {type(error).__name__}: {error}, where {promise}"
        ) from error


@contextmanager
def own_generators_only(
    where: object, seed: int, instead: str = "make its own from layer.seed"
) -> Iterator[None]:
    """The global generators start from ``seed`` and must be left as they are; then the caller's
    own states come back. ``instead`` is what a plugin must do.
    """
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    before = _states()
    try:
        yield
        changed = [name for name, state in _states().items() if state != before[name]]
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
    expect(
        not changed,
        f"{where}: it draws from or seeds the global generator of {' and '.join(changed)}; "
        f"it must {instead}",
    )


def _states() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state(legacy=False)),
        "random": random.getstate(),
    }


@contextmanager
def unmodified(where: object, **arguments: Any) -> Iterator[None]:
    """The tensors among ``arguments``, and in their fields, must not be written into."""
    tensors = dict(_tensors(arguments))
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    yield
    for name, tensor in tensors.items():
        same = torch.equal(tensor.nan_to_num(), copies[name].nan_to_num())
        expect(same, f"{where}: it writes into {name}; it must work on a copy")


def _tensors(arguments: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            yield name, value
        elif dataclasses.is_dataclass(value):
            fields = {f"{name}.{f.name}": getattr(value, f.name) for f in dataclasses.fields(value)}
            yield from _tensors(fields)


def devices() -> list[torch.device]:
    """The CPU, and the accelerator where there is one."""
    found = [torch.device("cpu")]
    if torch.accelerator.is_available():
        found.append(torch.device(torch.accelerator.current_accelerator()))  # type: ignore[arg-type]
    return found
