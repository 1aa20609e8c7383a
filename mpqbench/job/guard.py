"""What a plugin may change in the process: compared with what was there before, and undone.

The state of a process is global: what one plugin changes would decide the results of every job
after. What can be undone is undone; a job whose plugin changed something fails all the same, but
for changes that decide no number.
"""

import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch.nn.modules import module as hooks

from ..core.errors import BenchError
from ..core.threads import one_thread
from .meter import Meter
from .patches import Patches


@dataclass(frozen=True)
class _Part:
    """A part of the state. ``write`` takes what ``read`` gave; without one nothing is undone."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object] | None


def _write_environ(values: dict[str, str]) -> None:
    for name in os.environ.keys() - values.keys():
        del os.environ[name]
    os.environ.update(values)


def _write_path(values: list[str]) -> None:
    sys.path[:] = values


def _write_signals(values: dict[Any, Any]) -> None:
    for number, handler in values.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _signals() -> dict[Any, Any]:
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _write_filters(values: list[Any]) -> None:
    warnings.filters[:] = values  # type: ignore[index]


def _flush_denormal() -> bool:
    return not bool((torch.full((1,), 1e-310, dtype=torch.float64) * 0.5).any())


def _deterministic() -> tuple[bool, bool]:
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only


def _cudnn() -> tuple[bool, ...]:
    kernels = torch.backends.cudnn
    return kernels.enabled, kernels.benchmark, kernels.deterministic


def _write_cudnn(values: tuple[bool, ...]) -> None:
    names = ("enabled", "benchmark", "deterministic")
    for name, value in zip(names, values, strict=True):
        setattr(torch.backends.cudnn, name, value)


def _hook_tables() -> list[dict[Any, Any]]:
    return [table for name, table in vars(hooks).items() if name.startswith("_global_")
            and isinstance(table, dict)]  # fmt: skip


def _write_hooks(values: list[dict[Any, Any]]) -> None:
    for table, before in zip(_hook_tables(), values, strict=True):
        table.clear()
        table.update(before)


def _modes() -> tuple[int, int]:
    return torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()


_ENTERED: list[torch.inference_mode] = []  # kept, since a mode ends where its object is deleted


def _write_inference(value: bool) -> None:
    _ENTERED.append(torch.inference_mode(value))
    _ENTERED[-1].__enter__()


_THREADS = "the number of torch threads"
# What decides numbers or where results are written, in the words of a reason.
_DECISIVE = (
    _Part("the default dtype of torch", torch.get_default_dtype, torch.set_default_dtype),
    _Part(_THREADS, torch.get_num_threads, torch.set_num_threads),
    # Before the gradient mode, which the inference mode sets.
    _Part("torch's inference mode", torch.is_inference_mode_enabled, _write_inference),
    _Part("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _Part(
        "torch's deterministic algorithms",
        _deterministic,
        lambda flags: torch.use_deterministic_algorithms(flags[0], warn_only=flags[1]),
    ),
    _Part(
        "torch's precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    _Part("the settings of cuDNN", _cudnn, _write_cudnn),
    _Part("how torch treats denormal numbers", _flush_denormal, torch.set_flush_denormal),
    _Part(
        "a hook on all modules of torch", lambda: [dict(t) for t in _hook_tables()], _write_hooks
    ),
    _Part("a mode of torch that is still active", _modes, None),
    _Part("numpy's treatment of errors", np.geterr, lambda value: np.seterr(**value)),
    _Part("the current directory", os.getcwd, os.chdir),
)
# What decides no number: undone, with a note.
_HARMLESS = (
    _Part("environment variables", lambda: dict(os.environ), _write_environ),
    _Part("sys.path", lambda: list(sys.path), _write_path),
    _Part("the handling of signals", _signals, _write_signals),
    _Part("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
)
# What imports and many libraries change: undone without a word.
_USUAL = (
    _Part("torch's generator", torch.get_rng_state, torch.set_rng_state),
    _Part("numpy's generator", np.random.get_state, np.random.set_state),
    _Part("Python's generator", random.getstate, random.setstate),
    _Part("the filters of warnings", lambda: list(warnings.filters), _write_filters),
)


class Guard:
    """Restores the process when the ``with`` block is left.

    ``changed`` names what was changed although that decides numbers, ``notes`` are sentences on
    what does not, and ``lost`` names what could not be undone. A block that ends without an error
    although something was changed raises BenchError. ``imports`` names the plugin files that a
    block imports: what decides no number then stays, as a plugin may need the path that it adds.
    """

    def __init__(self, patches: Patches, imports: str = "") -> None:
        self.patches, self._who = patches, imports or "a plugin"
        self._harmless = () if imports else _HARMLESS
        self.changed: list[str] = []
        self.notes: list[str] = []
        self.lost: list[str] = []

    def __enter__(self) -> Self:
        self.patches.extend()
        self._before = {p.name: p.read() for p in (*_DECISIVE, *self._harmless, *_USUAL)}
        return self

    def check(self) -> None:
        """Raise BenchError where something that decides numbers is not as it was."""
        found = [part.name for part in _DECISIVE if self._differs(part)]
        found += [name for name, *_ in self.patches.changed()]
        if found:
            raise BenchError(self.sentence(found))

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Compute with one thread while inside, as ``core.threads`` does."""
        before = self._before[_THREADS]
        with one_thread():
            self._before[_THREADS] = 1
            try:
                yield
            finally:
                self._before[_THREADS] = before

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.changed = [part.name for part in _DECISIVE if self._differs(part)]
        harmless = [part.name for part in self._harmless if self._differs(part)]
        self.notes = [f"a plugin changed {name}, which was undone" for name in harmless]
        for part in (*_DECISIVE, *self._harmless, *_USUAL):
            if part.write is not None and (part in _USUAL or self._differs(part)):
                part.write(self._before[part.name])
        self.changed += self.patches.restore()
        self.lost = [part.name for part in _DECISIVE if self._differs(part)]
        self.lost += [name for name, *_ in self.patches.changed()]
        if self.changed and error is None:
            raise BenchError(self.sentence(self.changed))

    def sentence(self, names: list[str]) -> str:
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
        return f"{self._who} changed {listed}: a plugin must leave the process as it finds it"

    def _differs(self, part: _Part) -> bool:
        try:
            return bool(part.read() != self._before[part.name])
        except OSError:  # the current directory was removed
            return True


@dataclass(frozen=True)
class Stages:
    """The stages of a job: timed, and the process checked after each."""

    meter: Meter
    guard: Guard

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Time a stage. Raises BenchError where it changed the process."""
        with self.meter.stage(name):
            yield
            self.guard.check()

    @contextmanager
    def fitted(self, name: str) -> Iterator[None]:
        """Time a stage whose results must not depend on the number of threads, as ``named``."""
        with self.named(name), self.guard.one_thread():
            yield


def changed_model(changes: list[str]) -> str:
    """Say what a plugin has done to the model in full precision."""
    listed = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if changes[3:] else "")
    return f"a plugin changed the model in full precision: {listed}; plugins must work on copies"


def lost_state(method: str, guard: Guard) -> str:
    """Say that a plugin has done to the process what cannot be undone."""
    return (
        f"a plugin of {method} changed {guard.lost[0]}, which cannot be undone: no further job is "
        "run, since its result would depend on that"
    )
