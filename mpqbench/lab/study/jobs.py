"""What studies share: the parts of a job before its search."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.errors import BenchError
from ...core.precision import Precision
from ...core.progress import Reporter
from ...core.recipe import Job
from ...core.registry import Registry
from ...dit.groups import Group, layer_groups
from ...dit.loading import DiTModel
from ...job.resources import Resources
from ...job.search_stage import search_problem
from ...job.stages import Calibration, calibrate
from ...records.store import RecordStore
from ...search.lazy import LazyScorer
from ...search.problem import Problem


@dataclass(frozen=True)
class Session:
    """What a study runs with, and where its results go."""

    registry: Registry
    resources: Resources
    store: RecordStore
    reporter: Reporter
    device: str = "cpu"


@dataclass(frozen=True)
class Stage:
    """A job with its model and calibration, up to its search."""

    job: Job
    model: DiTModel
    groups: list[Group]
    calibration: Calibration

    @classmethod
    def of(cls, job: Job, resources: Resources, reporter: Reporter) -> Stage:
        """Raises BenchError for a budget that names no precision."""
        check_base(job.budget.precision)
        model = resources.model(job.model, job.protocol)
        groups = layer_groups(model.transformer)
        return cls(job, model, groups, calibrate(job, model, groups, resources, reporter))

    def problem(
        self, resources: Resources, reporter: Reporter, part: tuple[str, ...] = ()
    ) -> tuple[Problem, LazyScorer]:
        """As ``finding.search_problem``."""
        return search_problem(
            self.job, self.model, self.groups, self.calibration, resources, reporter, part
        )


def check_base(base: Precision) -> None:
    """Raises BenchError where a budget names no precision: studies vary around it."""
    if base.is_full:
        raise BenchError("a study needs a budget such as W4A4: others name no precision")
