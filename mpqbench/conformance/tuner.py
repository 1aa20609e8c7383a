"""Checks of tuners on a tiny quantized DiT."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..contracts import DistillationData, Tuner
from ..core.cache import Cache
from ..core.errors import Diverged
from ..cost.storage import SCALE_BYTES, packed_bytes
from ..dit.held_out import HeldOut
from ..tuning.checkpoint import Checkpoint
from ..tuning.loop import TrainingCurve
from ..tuning.student import QuantizedStudent
from ..tuning.trajectories import Trajectories
from .check import Check, checks_of, expect, expect_raises, expect_range, expect_repeatable
from .models import WHERE, SampleModel, expect_no_trace, tiny_transformer

BATCH = 8
STEPS = 4  # rows that count as of one image
MOST = {"steps": 12, "every": 4, "batch": BATCH, "span": 1, "warmup": 2}
SAME = 1e-5


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


class SampleStudent(SampleModel):
    """A new student; quantized inside a ``with`` block of ``quantized``."""

    def __init__(self) -> None:
        super().__init__(lively_transformer())
        self.student = QuantizedStudent(self.quantized, self.groups)
        self.rounded = dict(self.student.rounded)

    def error(self, data: DistillationData) -> float:
        """Return the mean squared error on the held-out inputs. Raises Diverged."""
        held = HeldOut(data.held_out.inputs, data.held_out.outputs)
        return float(held.mse(self.model, BATCH).mean())


@dataclass(frozen=True)
class Tuned:
    """One tuning: held-out errors ``before`` and ``after``, all tensors of the student after it,
    and the number of ``steps``: forwards with gradients.
    """

    sample: SampleStudent
    curve: Any
    before: float
    after: float
    state: dict[str, torch.Tensor]
    steps: int

    def expect_equal(self, whole: "Tuned", what: str) -> None:
        """Expect the curve, but for seconds, and the student of ``whole``."""
        rows, theirs = (repr([row[:-1] for row in each.curve.rows]) for each in (self, whole))
        same = all(torch.equal(value, whole.state[name]) for name, value in self.state.items())
        same = same and rows == theirs  # as texts: the first training loss is NaN
        expect(same, f"{what}, the tuning gives another curve or student than in one go")


class _TunerChecks:
    def __init__(self, plugin: Tuner) -> None:
        self.plugin = plugin
        teacher = lively_transformer()
        train, held_out = rows(teacher, 4 * BATCH, 1), rows(teacher, 3 * BATCH, 2)
        self.data = DistillationData(train, held_out, 7, "cpu", Checkpoint())
        self.tuned = functools.cache(self._tune)

    def untouched(self, _: str) -> None:
        """Without trajectories nothing is changed, and the curve is empty."""
        tuned = self.tuned()
        now, was = tuned.sample.student.rounded, tuned.sample.rounded
        same = all(weight is now[path] for path, weight in was.items())
        expect(same and tuned.before == tuned.after, "without trajectories the student is changed")
        count = len(tuned.curve.rows)
        expect(count == 0, f"the curve of no training has {count} rows")

    def curve(self, _: str) -> None:
        """The curve begins with the untuned error, has finite losses, and says what ended it."""
        curve, before = self.tuned().curve, self.tuned().before
        kind = type(curve).__name__
        expect(self.plugin.held_out > 0, "the tuner asks for trajectories and for none held out")
        expect(isinstance(curve, TrainingCurve), f"tune gave a {kind}, not a TrainingCurve")
        first = curve.rows[0] if curve.rows else (None, None, math.nan)
        expect(
            first[0] == 0 and math.isclose(first[2], before, rel_tol=SAME),
            f"the curve begins with {first}, not with step 0 and the untuned error {before:.6g}",
        )
        steps = [row[0] for row in curve.rows]
        expect(all(a < b for a, b in pairwise(steps)), f"the steps of the curve are {steps}")
        finite = all(math.isfinite(row[2]) for row in curve.rows)
        expect(finite, "a held-out loss of the curve is not finite")
        expect(curve.stopped, "the curve does not say what stopped the training")

    def error(self, _: str) -> None:
        """The held-out error never rises, and the best of the curve is what stays."""
        before, after = self.tuned().before, self.tuned().after
        rises = f"the held-out error rises from {before:.6g} to {after:.6g}"
        expect(after <= before * (1 + SAME), rises)
        least = min(row[2] for row in self.tuned().curve.rows)
        kept = math.isclose(after, least, rel_tol=SAME)
        expect(kept, f"the held-out error is {after:.6g}, the least of the curve {least:.6g}")

    def grids(self, _: str) -> None:
        """Weights end on their grids: integers that fit, and ``weight`` is their value."""
        sample = self.tuned().sample
        rounded = sample.student.rounded
        expect(rounded.keys() == sample.rounded.keys(), "other layers are rounded than before")
        for path, weight in rounded.items():
            now, was = (
                (each.bits, each.integers.shape, each.scale.shape, each.integers.dtype)
                for each in (weight, sample.rounded[path])
            )
            expect(now == was, f"layer {path} has bits, shapes and type {now}, and had {was}")
            expect_range(f"integers of layer {path}", weight.integers, weight.bits)
            values = sample.student.layers[path].weight
            same = torch.equal(values, weight.dequantize()) and values.isfinite().all()
            expect(same, f"the weight of layer {path} is off its grid")

    def cost(self, _: str) -> None:
        """What is added, branches and real zero points, is counted."""
        sample, zeros = self.tuned().sample, 0
        for weight in sample.student.rounded.values():
            zero, number = weight.zero, weight.zero.numel()
            if not torch.equal(zero, zero.round()):
                zeros += SCALE_BYTES * number - packed_bytes(number, weight.bits)
        sample.expect_bytes(zeros)
        for path, layer in sample.student.layers.items():
            branch: Any = layer.branch
            if branch is not None:
                held, told = sum(p.numel() for p in branch.parameters()), branch.size.numbers
                expect(held <= told, f"the branch of {path} holds {held} numbers, not {told}")

    def model(self, _: str) -> None:
        """The full-precision model stays as it was: no hook, no gradient, evaluation mode."""
        sample = self.tuned().sample
        tensors, quantized = sample.before.tensors, tuple(sample.student.layers)
        for name, value in self.tuned().state.items():
            same = name in tensors and torch.equal(value, tensors[name])
            expect(same or name.startswith(quantized), f"{name} of the model is changed")
        sample.before.expect_restored()
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
                resumed.expect_equal(whole, f"stopped in step {halfway} and resumed")
            self._tune(data).expect_equal(whole, "begun again after its end")

    def diverged(self, _: str) -> None:
        """A loss that is not finite raises Diverged, and the model can still be restored."""
        for part in ("train", "held_out"):
            given, sample = getattr(self.data, part), SampleStudent()
            broken = replace(given, outputs=torch.full_like(given.outputs, math.inf))
            data = replace(self.data, **{part: broken})
            with sample.quantized:
                tune = functools.partial(self.plugin.tune, sample.student, data)
                expect_raises(Diverged, f"with infinite {part} outputs tune", tune)
            sample.before.expect_restored()

    def _tune(self, data: DistillationData | None = None, stop_at: int = 0) -> Tuned:
        """Tune a new student; raise KeyboardInterrupt in step ``stop_at``, if it comes so far."""
        sample, data, steps = SampleStudent(), data or self.data, 0

        def count(*_of_the_model: Any) -> None:
            nonlocal steps
            steps += torch.is_grad_enabled()
            if torch.is_grad_enabled() and steps == stop_at:
                raise KeyboardInterrupt

        with sample.quantized:
            before = sample.error(data)
            with sample.model.register_forward_pre_hook(count), torch.enable_grad():
                curve = self.plugin.tune(sample.student, data)
            state = {name: value.clone() for name, value in sample.model.state_dict().items()}
            return Tuned(sample, curve, before, sample.error(data), state, steps)


def rows(transformer: Any, count: int, seed: int) -> Trajectories:
    """Return random inputs of a tiny transformer with its outputs."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, 4, 8, 8, generator=generator)
    times = torch.randint(0, 1000, (count,), generator=generator)
    classes = torch.randint(0, 4, (count,), generator=generator)
    signal = torch.rand(count, generator=generator)
    with torch.no_grad():
        outputs = transformer(latents, times, classes).sample
    return Trajectories(latents, times, classes, torch.arange(count) // STEPS, signal, outputs)


def lively_transformer() -> Any:
    """Return a tiny DiT whose output depends on its blocks: that of a new one hardly does."""
    transformer = tiny_transformer()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return transformer


def _shortened(plugin: Any) -> Any:
    """Return ``plugin`` with at most the numbers of ``MOST``, no time limit and plain errors."""
    known = {f.name for f in dataclasses.fields(plugin) if f.init}
    less = {name: min(most, getattr(plugin, name)) for name, most in MOST.items() if name in known}
    fixed = {"seconds": None, "weighting": "uniform"}
    return replace(plugin, **less, **{n: v for n, v in fixed.items() if n in known})
