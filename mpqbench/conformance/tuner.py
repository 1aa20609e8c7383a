"""Checks of tuners on a tiny quantized DiT."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..contracts import Tuner
from ..core.cache import Cache
from ..core.errors import Diverged
from ..tuning.checkpoint import Checkpoint
from ..tuning.loop import TrainingCurve
from ..tuning.student import DistillationData
from .check import Check, checks_of, expect, expect_range, expect_repeatable
from .models import expect_no_trace
from .students import BATCH, SampleStudent, sample_data

WHERE = "a tiny DiT at W3A3"
MOST = {"steps": 12, "every": 4, "batch": BATCH, "span": 1, "warmup": 2}
SAME = 1e-5


@dataclass(frozen=True)
class Tuned:
    """One tuning: held-out errors ``before`` and ``after``, all tensors of the student after it,
    and the number of ``steps``: forwards with gradients.
    """

    sample: SampleStudent
    curve: TrainingCurve
    before: float
    after: float
    state: dict[str, torch.Tensor]
    steps: int

    @property
    def losses(self) -> str:
        """The curve without seconds, as text: the first training loss is NaN."""
        return repr([row[:-1] for row in self.curve.rows])


def checks(plugin: Tuner, quick: bool) -> list[Check]:
    """Return all checks of a tuner.

    A tuner with the fields ``steps``, ``every``, ``batch``, ``span`` and ``warmup`` is given less,
    no ``seconds``, and ``weighting`` "uniform", because the curve is compared with plain errors. A
    tuner that asks for no trajectories must change nothing.
    """
    own = _TunerChecks(_shortened(plugin))
    if plugin.trajectories == 0:
        return checks_of([WHERE], own.untouched, own.grids, own.cost, own.model)
    methods = own.curve, own.error, own.grids, own.cost, own.model
    return checks_of([WHERE], *methods, own.repeatable, own.resumes, own.diverged)


class _TunerChecks:
    def __init__(self, plugin: Tuner) -> None:
        self.plugin = plugin
        self.data = sample_data()
        self.tuned = functools.cache(self._tune)

    def untouched(self, _: str) -> None:
        """Without trajectories nothing is changed, and the curve is empty."""
        tuned = self.tuned()
        now, was = tuned.sample.student.rounded, tuned.sample.rounded
        same = all(own is now[path] for path, own in was.items())
        expect(same and tuned.before == tuned.after, "without trajectories the student is changed")
        rows = len(tuned.curve.rows)
        expect(rows == 0, f"the curve of no training has {rows} rows")

    def curve(self, _: str) -> None:
        """The curve begins with the untuned error, has finite losses, and says what ended it."""
        tuned, kind = self.tuned(), type(self.tuned().curve).__name__
        expect(self.plugin.held_out > 0, "the tuner asks for trajectories and for none held out")
        expect(isinstance(tuned.curve, TrainingCurve), f"tune gave a {kind}, not a TrainingCurve")
        rows = tuned.curve.rows
        expect(
            rows and rows[0][0] == 0 and math.isclose(rows[0][2], tuned.before, rel_tol=SAME),
            f"the curve begins with {rows[0] if rows else 'nothing'}, not with step 0 and the "
            f"untuned error {tuned.before:.6g}",
        )
        steps = [row[0] for row in rows]
        expect(all(a < b for a, b in pairwise(steps)), f"the steps of the curve are {steps}")
        finite = all(math.isfinite(row[2]) for row in rows)
        expect(finite, "a held-out loss of the curve is not finite")
        expect(tuned.curve.stopped, "the curve does not say what stopped the training")

    def error(self, _: str) -> None:
        """The held-out error never rises, and the best of the curve is what stays."""
        before, after = self.tuned().before, self.tuned().after
        expect(
            after <= before * (1 + SAME),
            f"the held-out error rises from {before:.6g} to {after:.6g}",
        )
        least = min(row[2] for row in self.tuned().curve.rows)
        kept = math.isclose(after, least, rel_tol=SAME)
        expect(kept, f"the held-out error is {after:.6g}, the least of the curve {least:.6g}")

    def grids(self, _: str) -> None:
        """Weights end on their grids: integers that fit, and ``weight`` is their value."""
        sample = self.tuned().sample
        rounded = sample.student.rounded
        expect(rounded.keys() == sample.rounded.keys(), "other layers are rounded than before")
        for path, own in rounded.items():
            now, was = (
                (each.bits, each.integers.shape, each.scale.shape, each.integers.dtype)
                for each in (own, sample.rounded[path])
            )
            expect(now == was, f"layer {path} has bits, shapes and type {now}, and had {was}")
            expect_range(f"integers of layer {path}", own.integers, own.bits)
            weight = sample.student.layers[path].weight
            same = torch.equal(weight, own.dequantize()) and weight.isfinite().all()
            expect(same, f"the weight of layer {path} is off its grid")

    def cost(self, _: str) -> None:
        """What is added, branches and real zero points, is counted."""
        self.tuned().sample.expect_cost()
        for path, layer in self.tuned().sample.student.layers.items():
            branch: Any = layer.branch
            if branch is not None:
                held, told = sum(own.numel() for own in branch.parameters()), branch.size.numbers
                expect(held <= told, f"the branch of {path} holds {held} numbers, not {told}")

    def model(self, _: str) -> None:
        """The full-precision model stays as it was: no hook, no gradient, evaluation mode."""
        sample = self.tuned().sample
        own, quantized = sample.full_precision.tensors, tuple(sample.student.layers)
        for name, value in self.tuned().state.items():
            same = name.startswith(quantized) or (name in own and torch.equal(value, own[name]))
            expect(same, f"{name} of the full-precision model is changed")
        sample.full_precision.expect_restored()
        for path, layer in sample.student.layers.items():
            expect_no_trace(layer, path)

    def repeatable(self, _: str) -> None:
        """One ``data.seed`` gives one student; the data and global generators are left alone."""

        def tensors(data: DistillationData) -> Iterator[Any]:
            tuned = self._tune(data)
            yield [row[:-1] for row in tuned.curve.rows]
            yield from tuned.state.values()

        expect_repeatable("data.seed", tensors, data=self.data)

    def resumes(self, _: str) -> None:
        """Stopped halfway, or after its end, a tuning resumes from its checkpoint."""
        whole = self.tuned()
        halfway = whole.steps // 2 + 1
        with TemporaryDirectory() as folder:
            saved = Checkpoint(Cache(Path(folder)), "training", every=0)
            data = replace(self.data, checkpoint=saved)
            try:
                self._tune(data, stop_at=halfway)
            except KeyboardInterrupt:
                resumed = self._tune(data)
                expect(
                    resumed.steps < whole.steps,
                    f"stopped in step {halfway}, the tuning begins anew; it must save to "
                    "data.checkpoint and resume from there",
                )
                _expect_same(resumed, whole, f"stopped in step {halfway} and resumed")
            _expect_same(self._tune(data), whole, "begun again after its end")

    def diverged(self, _: str) -> None:
        """A loss that is not finite raises Diverged, and the model can still be restored."""
        for part in ("train", "held_out"):
            rows, sample = getattr(self.data, part), SampleStudent()
            broken = replace(rows, outputs=torch.full_like(rows.outputs, math.inf))
            given = "ends as if nothing were wrong"
            with sample.quantized:
                try:
                    self.plugin.tune(sample.student, replace(self.data, **{part: broken}))
                except Diverged:
                    given = ""
                except Exception as error:
                    given = f"raises {type(error).__name__}: {error}"
            expect(not given, f"with infinite {part} outputs tune {given}; it must raise Diverged")
            sample.full_precision.expect_restored()

    def _tune(self, data: DistillationData | None = None, stop_at: int = 0) -> Tuned:
        """Tune a new student; raise KeyboardInterrupt in step ``stop_at``, if it comes so far."""
        sample, data = SampleStudent(), data or self.data
        with sample.quantized:
            before = sample.error(data)
            with _counted(sample.model, stop_at) as steps, torch.enable_grad():
                curve: Any = self.plugin.tune(sample.student, data)
            return Tuned(sample, curve, before, sample.error(data), sample.state(), len(steps))


@contextmanager
def _counted(model: torch.nn.Module, stop_at: int) -> Iterator[list[int]]:
    """Yield a list that grows with each forward with gradients; number ``stop_at`` is stopped."""
    steps: list[int] = []

    def hook(*_of_the_model: Any) -> None:
        if torch.is_grad_enabled():
            steps.append(len(steps) + 1)
            if len(steps) == stop_at:
                raise KeyboardInterrupt

    handle = model.register_forward_pre_hook(hook)
    try:
        yield steps
    finally:
        handle.remove()


def _equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in ours.items()
    )


def _expect_same(ours: Tuned, theirs: Tuned, what: str) -> None:
    same = ours.losses == theirs.losses and _equal(ours.state, theirs.state)
    expect(same, f"{what}, the tuning gives another curve or student than in one go")


def _shortened(plugin: Any) -> Any:
    """Return ``plugin`` with at most the numbers of ``MOST``, no time limit and plain errors."""
    known = {f.name for f in dataclasses.fields(plugin) if f.init}
    less: dict[str, Any] = {n: min(m, getattr(plugin, n)) for n, m in MOST.items() if n in known}
    less |= {n: v for n, v in (("seconds", None), ("weighting", "uniform")) if n in known}
    return replace(plugin, **less)
