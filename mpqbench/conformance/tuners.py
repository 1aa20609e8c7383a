"""What every tuner promises."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
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
from .check import Check, attempt, check_of, expect, own_generators_only, unmodified
from .roundings import expect_range
from .students import CASES, SAME, Case, Pupil, held_out_error, lessons_for

SHORT = {"steps": 12, "every": 4, "batch": 8, "span": 1, "warmup": 2}
TUNES = "every quantized model must be tuned"


@dataclass(frozen=True)
class Tuned:
    """One tuning: held-out errors ``before`` and ``after`` it, that after it in the ``batches``
    that a tuner is given as well, all tensors of the student after it, how many forwards with
    gradients it took, and in words what it ``left`` behind that it must not.
    """

    pupil: Pupil
    curve: TrainingCurve
    before: float
    after: float
    batches: float
    state: dict[str, torch.Tensor]
    steps: int
    left: str

    @property
    def course(self) -> str:
        """The curve but its seconds; as text, because the first training loss is NaN."""
        return repr([tuple(row[:-1]) for row in self.curve.rows])


class TunerChecks:
    """The checks of one tuner on tiny quantized DiTs; tunings are shared between them.

    One that has the fields ``steps``, ``every``, ``batch``, ``span`` and ``warmup`` is given fewer,
    no ``seconds``, and ``weighting`` "uniform": its curve is compared with plain errors. One that
    asks for no trajectories must change nothing.
    """

    def __init__(self, plugin: Tuner, quick: bool) -> None:
        self.plugin = _shortened(plugin)
        self.cases = CASES[:1] if quick else CASES
        self.first = CASES[0]
        self.lessons = lessons_for(self.first)
        self._tunings: dict[str, Tuned] = {}

    def all(self) -> list[Check]:
        """All checks."""
        if self.plugin.trajectories == 0:
            return [check_of(self.images), check_of(self.untouched)]
        methods = [self.images, self.curve, self.error, self.best, self.grids, self.cost]
        methods += [self.deterministic, self.resumes, self.arguments, self.diverged, self.model]
        return [check_of(method) for method in methods]

    def images(self) -> None:
        """``trajectories`` and ``held_out`` are whole numbers, and it is judged where it learns."""
        counts = [getattr(self.plugin, name) for name in ("trajectories", "held_out")]
        whole = all(isinstance(count, int) and count >= 0 for count in counts)
        expect(whole, f"trajectories and held_out are {counts[0]} and {counts[1]}, no numbers")
        judged = not counts[0] or counts[1]
        expect(judged, f"it learns from {counts[0]} images and is judged on none")

    def untouched(self) -> None:
        """Without trajectories nothing is changed, and the curve is empty."""
        for case in self.cases:
            pupil = Pupil(case)
            with pupil.quantized:
                before = pupil.state()
                curve = self._call(pupil, self.lessons)
                pupil.expect_plain()
                pupil.expect_untouched(before)
            pupil.expect_removed()
            expect(not curve.rows, f"{case}: the curve of no training has {len(curve.rows)} rows")

    def curve(self) -> None:
        """The curve begins with the untuned error, has finite losses, and says what ended it."""
        for case, found in self._all():
            rows = found.curve.rows
            expect(
                rows and rows[0][0] == 0 and math.isclose(rows[0][2], found.before, rel_tol=SAME),
                f"{case}: the curve begins with {rows[0] if rows else 'nothing'}, not with step 0 "
                f"and the untuned error {found.before:.6g}",
            )
            steps = [row[0] for row in rows]
            expect(all(a < b for a, b in pairwise(steps)), f"{case}: steps of the curve: {steps}")
            finite = all(math.isfinite(row[2]) for row in rows)
            expect(finite, f"{case}: a held-out loss of the curve is not finite")
            expect(found.curve.stopped, f"{case}: the curve does not say what stopped the training")

    def error(self) -> None:
        """The held-out error after tuning is never above that before."""
        for case, found in self._all():
            expect(
                found.after <= found.before * (1 + SAME),
                f"{case}: the held-out error rises from {found.before:.6g} to {found.after:.6g}",
            )

    def best(self) -> None:
        """The best parameters of the curve are those that stay."""
        for case, found in self._all():
            least = min(row[2] for row in found.curve.rows)
            judged = (found.after, found.batches)
            expect(
                any(math.isclose(after, least, rel_tol=SAME) for after in judged),
                f"{case}: its held-out error is {found.after:.6g}, the least of the curve "
                f"{least:.6g}",
            )

    def grids(self) -> None:
        """Weights end on their grids: integers that fit, and ``weight`` is what they stand for."""
        for case, found in self._all():
            student, first = found.pupil.student, found.pupil.rounded
            expect(student.rounded.keys() == first.keys(), f"{case}: other layers are rounded now")
            for path, own in student.rounded.items():
                where, was = f"{case}, layer {path}", first[path]
                sizes = (own.bits, own.integers.shape, own.scale.shape, own.zero.shape)
                meant = (was.bits, was.integers.shape, was.scale.shape, was.zero.shape)
                expect(sizes == meant, f"{where}: bits and shapes are {sizes}, were {meant}")
                expect(own.integers.dtype == torch.int16, f"{where}: {own.integers.dtype} integers")
                expect_range(where, "integers", own.integers, own.bits)
                values, weight = own.dequantize(), student.layers[path].weight
                expect(values.isfinite().all(), f"{where}: its weight is not finite")
                far = float((weight.cpu() - values.to(weight.dtype).cpu()).abs().max())
                expect(far == 0, f"{where}: the weight is off its grid by up to {far:.2g}")

    def cost(self) -> None:
        """What it adds, branches and real zero points, is counted: bytes exactly."""
        for case, found in self._all():
            found.pupil.expect_cost()
            for path in found.pupil.student.layers:
                branch = found.pupil.student.branch(path)
                if branch is not None:
                    held, said = sum(p.numel() for p in branch.parameters()), branch.size.numbers
                    expect(
                        held <= said,
                        f"{case}: the branch of {path} holds {held} numbers and says {said}",
                    )

    def deterministic(self) -> None:
        """One ``lessons.seed`` gives one student, bit by bit; global generators are left alone."""
        pair = []
        for seed in (1, 2):
            with own_generators_only(self.first, seed, "draw from lessons.seed"):
                pair.append(self._tune(self.first, self.lessons))
        _expect_same(f"{self.first}: two tunings with one lessons.seed", *pair)

    def resumes(self) -> None:
        """Stopped halfway, or when it had ended, it goes on from its checkpoint to the same end."""
        whole = self._tuned(self.first)
        halfway = whole.steps // 2 + 1
        with TemporaryDirectory() as folder:
            saved = Checkpoint(Cache(Path(folder)), "training", every=0)
            lessons = replace(self.lessons, checkpoint=saved)
            try:
                self._tune(self.first, lessons, stop_at=halfway)
            except KeyboardInterrupt:
                resumed = self._tune(self.first, lessons)
                _expect_same(
                    f"{self.first}: stopped in step {halfway} and resumed,", whole, resumed
                )
                expect(
                    resumed.steps < whole.steps or whole.steps < 2,
                    f"{self.first}: stopped in step {halfway} it begins anew; it must save to "
                    "lessons.checkpoint and resume from there",
                )
            ended = self._tune(self.first, lessons)
            _expect_same(f"{self.first}: begun again after its end,", whole, ended)

    def arguments(self) -> None:
        """The lessons are not written into."""
        with unmodified(self.first, lessons=self.lessons):
            self._tune(self.first, self.lessons)

    def diverged(self) -> None:
        """A loss that is not finite ends in Diverged, and the model comes out of it whole."""
        for part in ("train", "held_out"):
            rows = getattr(self.lessons, part)
            broken = replace(rows, outputs=torch.full_like(rows.outputs, math.inf))
            where, pupil = f"{self.first}, infinite {part} outputs", Pupil(self.first)
            given = "ends as if nothing were wrong"
            with pupil.quantized:
                try:
                    self.plugin.tune(pupil.student, replace(self.lessons, **{part: broken}))
                except Diverged:
                    given = ""
                except Exception as error:
                    given = f"raises {type(error).__name__}: {error}"
            expect(not given, f"{where}: tune {given}; it must raise Diverged")
            pupil.expect_removed()

    def model(self) -> None:
        """The full-precision model stays what it was: no hook, no gradient, evaluation mode."""
        for _, found in self._all():
            expect(not found.left, found.left)
            found.pupil.expect_removed()

    def _all(self) -> Iterator[tuple[Case, Tuned]]:
        for case in self.cases:
            yield case, self._tuned(case)

    def _tuned(self, case: Case) -> Tuned:
        if case.name not in self._tunings:
            self._tunings[case.name] = self._tune(case, self.lessons)
        return self._tunings[case.name]

    def _tune(self, case: Case, lessons: DistillationData, stop_at: int = 0) -> Tuned:
        """A new student tuned; KeyboardInterrupt in step ``stop_at``, where it comes so far."""
        pupil = Pupil(case)
        with pupil.quantized:
            before = held_out_error(pupil, lessons)
            with _counted(pupil.model, stop_at) as steps:
                curve = self._call(pupil, lessons)
            left = _complaint(pupil.expect_plain)
            after = held_out_error(pupil, lessons)
            batches = held_out_error(pupil, lessons, SHORT["batch"])
            return Tuned(pupil, curve, before, after, batches, pupil.state(), len(steps), left)

    def _call(self, pupil: Pupil, lessons: DistillationData) -> TrainingCurve:
        curve: Any = attempt(
            pupil.case, "tune", lambda: self.plugin.tune(pupil.student, lessons), TUNES
        )
        kind = type(curve).__name__
        expect(
            isinstance(curve, TrainingCurve), f"{pupil.case}: tune gave a {kind}, no TrainingCurve"
        )
        return curve


@contextmanager
def _counted(model: torch.nn.Module, stop_at: int) -> Iterator[list[int]]:
    """A list that grows with each forward with gradients; that of number ``stop_at`` is stopped."""
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


def _complaint(check: Callable[[], None]) -> str:
    try:
        check()
    except AssertionError as error:
        return str(error)
    return ""


def _expect_same(sentence: str, one: Tuned, other: Tuned) -> None:
    expect(one.course == other.course, f"{sentence} give other curves; they must be identical")
    expect(one.state.keys() == other.state.keys(), f"{sentence} give students of other parts")
    for name, value in one.state.items():
        expect(torch.equal(value, other.state[name]), f"{sentence} give another {name}")


def _shortened(plugin: Any) -> Any:
    """``plugin`` with ``SHORT`` in place of larger numbers of these names, without a limit in time
    and with every error counting alike."""
    if not dataclasses.is_dataclass(plugin) or isinstance(plugin, type):
        return plugin
    known = {f.name for f in dataclasses.fields(plugin) if f.init}
    fewer: dict[str, Any] = {
        name: min(most, getattr(plugin, name)) for name, most in SHORT.items() if name in known
    }
    if "seconds" in known:
        fewer["seconds"] = None
    if "weighting" in known:
        fewer["weighting"] = "uniform"
    return replace(plugin, **fewer)
