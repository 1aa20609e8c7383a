"""The jobs of a run one by one, for a scheduler of others that distributes them over workers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import BenchError
from ..core.suite import Job
from ..job.resources import Session
from .shared import SharedJobs
from .suite import open_jobs


@dataclass(frozen=True)
class JobPlan:
    """A job of the folder ``store``, and the name of the job that must end before, if any."""

    name: str
    store: Path
    job: str
    fingerprint: str
    after: tuple[str, ...] = ()


class ByJob(ABC):
    """A run whose jobs can be run one by one, by several processes on one folder of results.

    ``concludes`` says whether much is left to do when all jobs have been run.
    """

    concludes = False

    @abstractmethod
    def run(self) -> Any:
        """Run what is not done; return the results."""

    def share(self) -> None:
        """Run the jobs, of which other processes that do the same run some."""
        self.run()

    @abstractmethod
    def batches(self) -> Sequence[tuple[Session, Sequence[Job]]]:
        """Return the jobs of each folder of results. Raises BenchError for a mistake in them."""

    def plan(self) -> list[JobPlan]:
        """Return all jobs in their order. Raises BenchError where one could not be run."""
        return [plan for plan, *_ in self._opened.values()]

    def run_job(self, plan: JobPlan) -> str:
        """Run a job of ``plan``, or take its record where it is done; return its status.

        Raises BenchError where this process would run it with other settings or code.
        """
        own, shared, jobs = self._opened[plan.name]
        if own.fingerprint != plan.fingerprint:
            raise BenchError(
                f"job '{plan.job}' has fingerprint {own.fingerprint} here and {plan.fingerprint} "
                "where it was planned: install the same mpqbench and plugins on all workers"
            )
        return shared.run(jobs)[-1].status

    def help_job(self, store: Path, job: str) -> None:
        """Make shards of a job that another process runs, as long as there are any."""
        _, shared, jobs = self._opened[f"{store}/{job}"]
        shared.help(jobs[-1:])

    @cached_property
    def _opened(self) -> dict[str, tuple[JobPlan, SharedJobs, list[Job]]]:
        found = {}
        for session, jobs in self.batches():
            shared, store = open_jobs(jobs, session), session.store.folder
            for job in jobs:
                needed = [] if job.is_reference else [job.reference]
                names = tuple(f"{store}/{other.id}" for other in needed)
                plan = JobPlan(
                    f"{store}/{job.id}", store, job.id, shared.fingerprints[job.id], names
                )
                found[plan.name] = plan, shared, [*needed, job]
        return found
