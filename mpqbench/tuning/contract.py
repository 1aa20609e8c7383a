"""The contract of a tuner, as it stands beside the other kinds of plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .loop import Curve
    from .student import Lessons, Student


class Tuner(Protocol):
    """Trains a quantized model after rounding.

    ``trajectories`` and ``held_out`` are how many images of full precision it learns from and is
    judged on; with 0 nothing is recorded.
    """

    trajectories: int
    held_out: int

    def tune(self, student: Student, lessons: Lessons) -> Curve:
        """Change the student in place; afterwards it is a plain quantized model.

        Weights lie on the grids of ``student.rounded`` and nothing in it can be trained any more.
        Costs are counted by the harness, which is told through ``student`` of every branch that was
        added and every grid that changed. The course of the training comes back.
        """
        ...
