"""The check itself, and what the checks of all kinds share."""

import inspect
import pickle
import random
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core.errors import ANY_ERROR, BenchError
from ..quant.verify import expect, relative_distance


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
            except ANY_ERROR as error:
                kind = (
                    ""
                    if isinstance(error, AssertionError | BenchError)
                    else f"{type(error).__name__}: "
                )
                sentence = f"{case}: {kind}{error}"
                raise AssertionError(" ".join(sentence.split())) from error

    def __str__(self) -> str:
        return self.name


def fault(error: AssertionError, plugin: Any) -> tuple[str, str]:
    """Return what a check found wrong: a key, equal for checks that fail alike, and a sentence.

    The sentence begins with the line of the plugin's file that raised the error; where the plugin
    raised none, with that of its class.
    """
    cls, cause = type(plugin), error.__cause__ or error
    file = inspect.getsourcefile(cls) or "?"
    raised = [f for f in traceback.extract_tb(cause.__traceback__) if f.filename == file]
    if raised:
        place = f"{file} line {raised[-1].lineno}"
        return f"{place}: {type(cause).__name__}", f"{place}: {error}"
    return str(cause), f"{file} line {inspect.getsourcelines(cls)[1]}, {cls.__name__}: {error}"


def checks_of(cases: Sequence[Any], *methods: Callable[[Any], None]) -> list[Check]:
    """Return checks named after ``methods``; the first line of a docstring is the requirement."""
    promises = [str(method.__doc__).partition("\n")[0].replace("``", "") for method in methods]
    return [Check(m.__name__, p, m, cases) for m, p in zip(methods, promises, strict=True)]


def expect_raises(kind: type[Exception], given: str, call: Callable[[], Any]) -> None:
    """Expect ``call`` to raise ``kind``, for the reason ``given``."""
    try:
        found = call()
    except kind:
        return
    raise AssertionError(f"{given} must raise {kind.__name__}, not give {found}")


def expect_close(what: str, ours: torch.Tensor, theirs: torch.Tensor, most: float = 1e-5) -> None:
    """Expect the norm of the difference to be at most ``most`` times the norm of ``theirs``."""
    far = relative_distance(ours, theirs)
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
    arguments = {name: pickle.dumps(value) for name, value in watched.items()}
    results = []
    with torch.random.fork_rng(devices=[]), torch.no_grad(), ExitStack() as restored:
        restored.callback(np.random.set_state, np.random.get_state())
        restored.callback(random.setstate, random.getstate())
        for seed in (1, 2):
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            before = _generators()
            results.append([np.array(np.asarray(part), float) for part in call(**watched)])
            expect(
                _generators() == before,
                "a global generator of torch, numpy or random is used or seeded; random numbers "
                f"must come from {source}",
            )
    for name, value in watched.items():
        same = pickle.dumps(value) == arguments[name]
        expect(same, f"{name} is written into; the plugin must work on a copy")
    same = len(results[0]) == len(results[1]) and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(*results, strict=True)
    )
    expect(same, f"two calls with the same {source} give different results")


def _generators() -> bytes:
    states = torch.get_rng_state().numpy(), np.random.get_state(), random.getstate()
    return pickle.dumps(states)
