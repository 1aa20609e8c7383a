"""The tuning stage of a job: what it records before quantization, and what it trains after."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.progress import Reporter
from ..core.recipe import Job
from ..dit.groups import Group
from ..dit.loading import DiTModel
from ..quant.apply import QuantizedModel
from ..records.store import RecordStore
from ..tuning.checkpoint import Checkpoint
from ..tuning.loop import TrainingCurve
from ..tuning.student import DistillationData, QuantizedStudent, record_lessons
from .resources import Resources


def lessons_of(
    job: Job,
    model: DiTModel,
    resources: Resources,
    store: RecordStore,
    mark: str,
    reporter: Reporter,
    fresh: bool,
) -> DistillationData | None:
    """What the recipe's tuner asks for; ``None`` where it asks for nothing.

    The model must be in full precision. Training resumes from ``tuning/JOB.pt`` where that is of
    the same ``mark``; with ``fresh`` it begins anew.
    """
    tuner = resources.registry.create("tuner", job.recipe.tuner)
    if job.budget.is_unbounded or not tuner.trajectories:
        return None
    path = store.folder / "tuning" / f"{job.id}.pt"
    if fresh:
        path.unlink(missing_ok=True)
    folder = resources.calibration_folder() / resources.statistics_mark(
        model, job.protocol, job.seed
    )
    checkpoint = Checkpoint(path, mark)
    return record_lessons(
        tuner, model, job.protocol, job.seed, job.device, folder, checkpoint, reporter
    )


def tune(
    job: Job,
    quantized: QuantizedModel,
    groups: Sequence[Group],
    lessons: DistillationData,
    resources: Resources,
) -> TrainingCurve:
    """Trains the model that is in ``quantized``, in place. Raises Diverged."""
    tuner = resources.registry.create("tuner", job.recipe.tuner)
    curve: TrainingCurve = tuner.tune(QuantizedStudent(quantized, groups), lessons)
    return curve
