"""The check itself, and what the checks of all kinds share."""

from __future__ import annotations

import dataclasses
import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Check:
    """One requirement on a plugin, with the cases on which the requirement is checked."""

    name: str
    promise: str
    run: Callable[[Any], None]
    cases: Sequence[Any]

    def __call__(self) -> None:
        """Raise AssertionError with one sentence on the first case that fails, for any reason."""
        for case in self.cases:
            try:
                self.run(case)
            except Exception as error:
                kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
                sentence = f"{case}: {kind}{error}"
                raise AssertionError(" ".join(sentence.split())) from error

    def __str__(self) -> str:
        return self.name


def checks_of(cases: Sequence[Any], *methods: Callable[[Any], None]) -> list[Check]:
    """Return checks named after ``methods``; the first line of a docstring is the requirement."""
    found = []
    for method in methods:
        promise = (inspect.getdoc(method) or "").partition("\n")[0].replace("``", "")
        found.append(Check(method.__name__.replace("_", "-"), promise, method, cases))
    return found


def expect(condition: Any, sentence: str) -> None:
    """Raise AssertionError with ``sentence`` unless ``condition`` holds, even in ``python -O``."""
    if not condition:
        raise AssertionError(sentence)


def expect_tensor(
    what: str, found: Any, shape: Iterable[int], dtype: torch.dtype = torch.float32
) -> None:
    """Expect a finite tensor of ``shape`` and ``dtype``."""
    expect(isinstance(found, torch.Tensor), f"{what} is a {type(found).__name__}, not a tensor")
    expect(
        found.shape == tuple(shape) and found.dtype == dtype,
        f"{what} is {found.dtype} {tuple(found.shape)}, not {dtype} {tuple(shape)}",
    )
    bad = int((~found.isfinite()).sum())
    expect(bad == 0, f"{what} has {bad} numbers that are not finite")


def expect_range(what: str, numbers: torch.Tensor, bits: int) -> None:
    """Expect ``numbers`` to fit in ``bits`` bits, with a sign or without."""
    lowest, highest = (int(end) for end in numbers.aminmax())
    half = 2 ** (bits - 1)
    fits = (lowest >= 0 and highest < 2 * half) or (lowest >= -half and highest < half)
    expect(
        fits,
        f"{what} run from {lowest} to {highest}; {bits} bits hold {-half} to {half - 1} "
        f"or 0 to {2 * half - 1}",
    )


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the norm of the difference in units of the norm of ``theirs``."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def expect_close(what: str, ours: torch.Tensor, theirs: torch.Tensor, most: float = 1e-5) -> None:
    """Expect a ``distance`` of at most ``most``."""
    far = distance(ours, theirs)
    expect(far <= most, f"{what} by {far:.2g} of its size, more than {most:g}")


def expect_gradient(
    call: Callable[[torch.Tensor], Any], rows: torch.Tensor, matrix: torch.Tensor
) -> None:
    """Expect the gradient of ``call`` at ``rows`` to be that of ``rows @ matrix``."""
    x = rows.clone().requires_grad_()
    output = call(x)
    expect(output.requires_grad, "the output has no gradient, which tuning needs")
    upstream = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
    (gradient,) = torch.autograd.grad(output, x, upstream)
    expect_close("the gradient is wrong", gradient, upstream @ matrix.T, 1e-4)


def expect_repeatable(source: str, call: Callable[..., Iterable[Any]], **watched: Any) -> None:
    """Expect two calls to give equal tensors or arrays, and to change nothing else.

    The global random generators, seeded differently before each call, must be left alone; random
    numbers may come from ``source`` alone. The ``watched`` arguments must not be written into.
    """
    results = []
    for seed in (1, 2):
        with own_generators_only(seed, source), unmodified(watched), torch.no_grad():
            results.append([_array(part) for part in call(**watched)])
    same = len(results[0]) == len(results[1]) and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(*results, strict=True)
    )
    expect(same, f"two calls with the same {source} give different results")


def _array(part: Any) -> np.ndarray:
    numbers = part.tolist() if isinstance(part, torch.Tensor) else part
    return np.array(numbers, dtype=float)


@contextmanager
def own_generators_only(seed: int, source: str) -> Iterator[None]:
    """Seed the global generators, expect them to stay as they are, and restore their states."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    before = _generators()
    try:
        yield
        changed = " and ".join(name for name, own in _generators().items() if own != before[name])
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
    expect(
        not changed,
        f"the global generator of {changed} is used or seeded; random numbers must come from "
        f"{source}",
    )


def _generators() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state(legacy=False)),
        "random": random.getstate(),
    }


@contextmanager
def unmodified(arguments: dict[str, Any]) -> Iterator[None]:
    """Expect the tensors among ``arguments``, and in their fields, not to be written into."""
    tensors = dict(_tensors(arguments))
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    yield
    for name, tensor in tensors.items():
        same = torch.equal(tensor.nan_to_num(), copies[name].nan_to_num())
        expect(same, f"{name} is written into; the plugin must work on a copy")


def _tensors(arguments: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            yield name, value
        elif dataclasses.is_dataclass(value):
            fields = {f"{name}.{f.name}": getattr(value, f.name) for f in dataclasses.fields(value)}
            yield from _tensors(fields)


def devices() -> list[torch.device]:
    """Return the CPU, and the accelerator where there is one."""
    found = [torch.device("cpu")]
    if torch.accelerator.is_available():
        found.append(torch.device(torch.accelerator.current_accelerator()))  # type: ignore[arg-type]
    return found


def expect_device(what: str, found: torch.Tensor, device: torch.device) -> None:
    """Expect a tensor on ``device``."""
    expect(
        found.device.type == device.type,
        f"{what} is on {found.device}, what the plugin was given on {device}",
    )
