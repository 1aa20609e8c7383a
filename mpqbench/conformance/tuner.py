"""Checks of tuners on a tiny quantized DiT."""

import functools
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, Self

import numpy as np
import torch

from ..contracts import DistillationData, Tuner
from ..core.errors import Diverged
from ..dit.calibration import HeldOut, evaluate
from ..dit.state import tensor_digest
from ..quant.verify import expect, expect_counted, expect_tuned
from ..tuning.checkpoint import Checkpoint
from ..tuning.loop import TrainingCurve
from ..tuning.student import QuantizedStudent
from ..tuning.trajectories import Trajectories
from .check import Check, checks_of, expect_raises, expect_repeatable
from .models import (
    WHERE,
    SampleModel,
    expect_no_trace,
    expect_restored,
    random_inputs,
    tiny_transformer,
)

BATCH = 8
STEPS = 4  # rows that count as of one image
MOST = {"steps": 12, "every": 4, "batch": BATCH, "span": 1, "warmup": 2}
SAME = 1e-5


def checks(plugin: Tuner, quick: bool) -> list[Check]:
    """Return all checks of a tuner; one that asks for no trajectories is not called.

    A tuner with the fields ``steps``, ``every``, ``batch``, ``span`` and ``warmup`` is given less,
    no ``seconds``, and ``weighting`` "uniform", because the curve is compared with plain errors.
    """
    tests = _TunerChecks(_shortened(plugin))
    found = checks_of([WHERE], tests.images)
    if plugin.trajectories:
        methods = tests.error, tests.grids, tests.cost, tests.model
        found += checks_of([WHERE], *methods, tests.repeatable, tests.diverged)
    return found


class SampleStudent(SampleModel):
    """A student that ``tune`` trains, and what is known of the training.

    ``before`` and ``after`` are held-out errors, and ``state`` has all tensors of the trained
    student.
    """

    def __init__(self) -> None:
        super().__init__(lively_transformer())
        self.student = QuantizedStudent(self.quantized, self.groups)
        self.untrained = dict(self.student.rounded)

    def tune(self, plugin: Tuner, data: DistillationData) -> Self:
        """Train, and measure the held-out error before and after."""
        held_out = HeldOut(data.held_out.inputs, data.held_out.outputs)
        with self.quantized:
            self.before = float(held_out.mse(self.model, BATCH).mean())
            with torch.enable_grad():
                self.curve: Any = plugin.tune(self.student, data)
            self.after = float(held_out.mse(self.model, BATCH).mean())
            self.state = {name: value.clone() for name, value in self.model.state_dict().items()}
        return self


class _TunerChecks:
    def __init__(self, plugin: Tuner) -> None:
        self.plugin = plugin
        teacher = lively_transformer()
        train, held_out = rows(teacher, 4 * BATCH, 1), rows(teacher, 3 * BATCH, 2)
        self.data = DistillationData(train, held_out, 7, "cpu", Checkpoint())

    @functools.cached_property
    def tuned(self) -> SampleStudent:
        """A student after the tuning."""
        return SampleStudent().tune(self.plugin, self.data)

    def images(self, _: str) -> None:
        """A tuner that asks for trajectories asks for some that are held out."""
        train, held_out = self.plugin.trajectories, self.plugin.held_out
        fits = train == 0 or held_out > 0
        expect(fits, f"the tuner asks for {train} trajectories and {held_out} held out")

    def error(self, _: str) -> None:
        """Held-out losses are finite and begin with the untuned error; the least one stays."""
        curve, before, after = self.tuned.curve, self.tuned.before, self.tuned.after
        kind = type(curve).__name__
        expect(isinstance(curve, TrainingCurve), f"tune gave a {kind}, not a TrainingCurve")
        losses = [row[2] for row in curve.rows] or [math.nan]
        begins = math.isclose(losses[0], before, rel_tol=SAME)
        expect(begins, f"the curve begins with {losses[0]:.6g}, the untuned error is {before:.6g}")
        kept = math.isclose(after, min(losses), rel_tol=SAME) and np.isfinite(losses).all()
        expect(kept, f"the held-out error ends at {after:.6g}, and the curve has {losses}")

    def grids(self, _: str) -> None:
        """Weights end on their grids: integers that fit, and ``weight`` is their value."""
        student = self.tuned.student
        expect_tuned(student.layers, student.rounded, self.tuned.untrained)

    def cost(self, _: str) -> None:
        """Branches that are added are counted, with all their numbers."""
        expect_counted(self.tuned.student.layers, self.tuned.quantized.operators)

    def model(self, _: str) -> None:
        """The full-precision model stays as it was: no hook, no gradient, evaluation mode."""
        sample = self.tuned
        tensors, quantized = sample.full.tensors, tuple(sample.student.layers)
        for name, value in sample.state.items():
            same = tensors.get(name) == tensor_digest(value)
            expect(same or name.startswith(quantized), f"{name} of the model is changed")
        expect_restored(sample.full)
        for path, layer in sample.student.layers.items():
            expect_no_trace(layer, path)

    def repeatable(self, _: str) -> None:
        """One ``data.seed`` gives one student; the data and global generators are left alone."""

        def tensors(data: DistillationData) -> Iterator[Any]:
            tuned = SampleStudent().tune(self.plugin, data)
            yield [row[:-1] for row in tuned.curve.rows]  # all but seconds
            yield from tuned.state.values()

        expect_repeatable("data.seed", tensors, data=self.data)

    def diverged(self, _: str) -> None:
        """A loss that is not finite raises Diverged, and the model can still be restored."""
        for part in ("train", "held_out"):
            given, sample = getattr(self.data, part), SampleStudent()
            broken = replace(given, outputs=torch.full_like(given.outputs, math.inf))
            data = replace(self.data, **{part: broken})
            with sample.quantized:
                tune = functools.partial(self.plugin.tune, sample.student, data)
                expect_raises(Diverged, f"with infinite {part} outputs tune", tune)
            expect_restored(sample.full)


def rows(transformer: Any, count: int, seed: int) -> Trajectories:
    """Return random inputs of a tiny transformer with its outputs."""
    x = random_inputs(count, seed)
    images, signal = torch.arange(count) // STEPS, 1 - x.times / 1000
    outputs = evaluate(transformer, x, count)
    return Trajectories(x.latents, x.times, x.classes, images, signal, outputs)


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
    known = {f.name for f in fields(plugin) if f.init}
    less = {name: min(most, getattr(plugin, name)) for name, most in MOST.items() if name in known}
    fixed = {"seconds": None, "weighting": "uniform"}
    return replace(plugin, **less, **{n: v for n, v in fixed.items() if n in known})
