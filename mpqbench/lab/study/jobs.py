"""What studies share: a job that is ready for its search."""

from ...core.errors import BenchError
from ...core.precision import Precision
from ...core.suite import Job
from ...job.context import JobContext, calibrate
from ...job.resources import Resources


def open_job(job: Job, resources: Resources) -> JobContext:
    """Return the calibrated context of a job. Raises BenchError as ``check_base``."""
    check_base(job.budget.precision)
    return calibrate(JobContext.open(job, resources))


def check_base(base: Precision) -> None:
    """Raises BenchError where a budget names no precision: studies vary around it."""
    if base.is_full:
        raise BenchError("a study needs a budget such as W4A4: others name no precision")
