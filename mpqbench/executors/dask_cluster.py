"""Dask distributed as an executor: a task for each job, over workers of this machine or of others.

What runs where and when, again after a worker has died, and on which GPU, is Dask's alone. A worker
keeps what a call prepared, the model above all, for the next task of the same campaign. The folder
of results has one path for all workers and for this process.
"""

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..core.claims import FOLDER, Claims
from ..core.errors import BenchError
from ..core.packages import check_package
from ..core.progress import Reporter
from ..core.suite import Job
from .base import Executor, Task, Telling, Told

RETRIES = 1  # of a task that raised an error or ended its worker, on whichever worker Dask chooses
_SECONDS = 30.0  # to wait for a scheduler

_LOCK = threading.Lock()  # one task at a time uses the model of a worker
_PREPARED: dict[str, Any] = {}  # what this worker prepared, by campaign: one at a time


class TellingScheduler(Telling):
    """Sends events through the scheduler, which clients can subscribe to."""

    def __init__(self, topic: str) -> None:
        from distributed import get_worker

        self._topic, self._worker = topic, get_worker()

    def tell(self, **event: Any) -> None:
        self._worker.log_event(self._topic, event | {"worker": str(self._worker.name)})


def _execute(task: Task, place: str, *_after: Any) -> tuple[Any, str]:
    """Execute a task in a worker; return its result, and the sentence of a mistake."""
    campaign = task.settings["campaign"]
    with _LOCK:
        try:
            if campaign not in _PREPARED:
                _PREPARED.clear()  # free one model before the next one is read
                _enter(place)
                prepared = task.prepared(TellingScheduler(campaign))
                prepared.session.resources.offered = partial(_ask_for_help, task, place)
                _PREPARED[campaign] = prepared
            return task.result(_PREPARED[campaign]), ""
        except BenchError as error:  # no other worker would do better
            return None, str(error)


def _ask_for_help(task: Task, place: str, store: Path, job: Job, shards: int) -> None:
    """Have workers that are idle make shards of the job that this one runs."""
    from distributed import fire_and_forget, get_client

    asked = replace(task, method="help_job", given=(store, job.id))
    try:
        client = get_client()
        others = len(client.scheduler_info(n_workers=-1)["workers"]) - 1
        for number in range(min(others, shards - 1)):
            key = f"help {number} of {job.id} ({task.settings['campaign']})"
            terms = {"key": key, "pure": False, "resources": _resources(task) or None}
            fire_and_forget(client.submit(_execute, asked, place, priority=-1, **terms))
    except Exception as error:  # the job does not need help
        TellingScheduler(task.settings["campaign"]).say(f"  no help for {job.id}: {error}")


def _resources(task: Task) -> dict[str, float]:
    """Return what a task takes of a worker: a GPU, where the device is one."""
    device = str(task.settings.get("device", "cpu"))
    return {"GPU": 1} if device.partition(":")[0] == "cuda" else {}


def _enter(place: str) -> None:
    """Go to the folder that relative paths begin in. Raises BenchError where there is none."""
    try:
        os.chdir(place)
    except OSError:
        raise BenchError(
            f"a worker has no folder {place}: start the command in one that all machines see"
        ) from None


def _forget(campaign: str) -> None:
    _PREPARED.pop(campaign, None)


class DaskExecutor(Executor):
    """Executes tasks of one campaign, all with the settings of ``task``, at ``address``.

    Without an address, ``workers`` processes of one thread are started here, by default as many as
    there are processors, or one for device ``cuda``; only this process can reach these. On that
    device a task takes one unit of a worker's resource ``GPU``. Raises BenchError without the extra
    ``dask`` and where no scheduler answers.
    """

    def __init__(
        self, reporter: Reporter, task: Task, address: str | None, workers: int | None
    ) -> None:
        check_package("distributed", "the executor 'dask'")
        self.reporter, self.campaign = reporter, task.settings["campaign"]
        self.resources = _resources(task)
        self._told, self._stack = Told(reporter), ExitStack()
        self._tasks: dict[str, tuple[Task, Any]] = {}  # with its future, by name
        try:
            self._client = self._connected(address, workers)
        except BaseException:
            self._stack.close()
            raise
        self._client.subscribe_topic(self.campaign, self._show)

    def submit(self, task: Task) -> None:
        after = [self._tasks[name][1] for name in task.after if name in self._tasks]
        future = self._client.submit(
            _execute, task, os.getcwd(), *after,
            key=f"{task.name} ({self.campaign})", pure=False,
            retries=RETRIES, resources=self.resources or None,
        )  # fmt: skip
        self._tasks[task.name] = task, future

    def as_completed(self) -> Iterator[tuple[Task, Any]]:
        """Yield each task that ended, with its result.

        A task whose workers died fails its job; those that it was to come before are left out.
        """
        from distributed import KilledWorker, as_completed

        self._say_missing()
        tasks = {future.key: task for task, future in self._tasks.values()}
        futures = [future for _, future in self._tasks.values()]
        for future in as_completed(futures, loop=self._client.loop):
            task = tasks[future.key]
            del self._tasks[task.name]
            if future.status == "finished":
                result, mistake = future.result()
                if mistake:
                    raise BenchError(mistake)
                yield task, result
                continue
            if future.status != "error":  # the scheduler has lost the task
                raise BenchError(
                    f"Dask gave up '{task.name}' ({future.status}): the same command resumes here"
                )
            error = future.exception()
            if not isinstance(error, KilledWorker):
                raise error
            if error.task == future.key:
                yield task, error

    def cancel(self) -> None:
        """Cancel what has not begun, and end the workers that were started here.

        A worker of another cluster ends the job that it runs: its result is not lost.
        """
        with suppress(Exception):  # the scheduler may be gone
            self._client.cancel([future for _, future in self._tasks.values()])
            self._client.run(_forget, self.campaign, on_error="ignore")
        self._stack.close()

    def end_of_progress(self) -> None:
        """Show no further progress."""
        self._client.unsubscribe_topic(self.campaign)

    def _connected(self, address: str | None, workers: int | None) -> Any:
        from distributed import Client

        try:
            target = address or self._stack.enter_context(self._local_cluster(workers))
            return self._stack.enter_context(Client(target, timeout=_SECONDS, set_as_default=False))
        except (OSError, ValueError, TypeError) as error:
            reason = f"{error}".splitlines()[0] if f"{error}" else type(error).__name__
            raise BenchError(
                f"no scheduler of Dask answers at {address or 'this machine'}: {reason}"
            ) from None

    def _local_cluster(self, workers: int | None) -> Any:
        """Return a cluster of this machine that talks in TLS with a key of its own."""
        import dask
        from dask.system import CPU_COUNT
        from distributed import LocalCluster

        check_package("cryptography", "a cluster that the executor 'dask' starts")
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mpqbench-dask-"))
        # A worker of this machine that is merely slow is not ended: one that ended is seen at once.
        patient = {"scheduler.worker-ttl": None, "comm.timeouts.connect": "300s"}
        settings = patient | {"scheduler.allowed-failures": RETRIES}
        named = {f"distributed.{name}": value for name, value in settings.items()}
        self._stack.enter_context(dask.config.set(named))
        return LocalCluster(
            n_workers=workers or (1 if self.resources else CPU_COUNT),
            threads_per_worker=1,
            memory_limit=0,  # a worker is not ended for what a model needs
            dashboard_address="127.0.0.1:0",
            local_directory=folder,
            resources=self.resources,
            security=True,
            silence_logs=logging.ERROR,
        )

    def _show(self, event: tuple[float, dict[str, Any]]) -> None:
        told = dict(event[1])
        self._told.show(told.pop("worker"), told)

    def _say_missing(self) -> None:
        """Say where no worker can take a task yet: Dask waits for one."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        for name, number in self.resources.items():
            if not any(worker["resources"].get(name, 0) >= number for worker in workers):
                self.reporter.say(
                    f"no worker of Dask has the resource {name} yet: start one with "
                    f"dask worker --nthreads 1 --resources {name}=1"
                )
        if not workers:
            self.reporter.say("the scheduler of Dask has no worker yet: waiting for one")


def run_on_cluster(task: Task, reporter: Reporter, address: str | None, workers: int | None) -> Any:
    """Return the result of a task whose jobs are tasks of Dask, planned by a worker too.

    This process needs neither a GPU nor memory for the model. Raises BenchError.
    """
    campaign = task.settings["campaign"]
    with DaskExecutor(reporter, task, address, workers) as executor:
        planned = _only(executor, replace(task, method="plan", name="plan"))
        plans = {plan.name: plan for plan in planned}
        for name, plan in plans.items():
            given = {"given": (plan,), "name": name, "after": plan.after}
            executor.submit(replace(task, method="run_job", **given))
        for ended, result in executor.as_completed():
            if isinstance(result, Exception):
                plan = plans[ended.name]
                Claims(Path(plan.store) / FOLDER).give_up(plan.job, campaign, _sentence(result))
        executor.end_of_progress()
        return _only(executor, replace(task, name="records"))


def _only(executor: DaskExecutor, task: Task) -> Any:
    """Return the result of one task. Raises BenchError where its workers ended."""
    executor.submit(task)
    (found,) = executor.as_completed()
    if isinstance(found[1], Exception):
        raise BenchError(
            f"task '{task.name}': {_sentence(found[1])}: the same command resumes here"
        )
    return found[1]


def _sentence(error: Any) -> str:
    return f"{error.allowed_failures + 1} workers of Dask ended while they ran it"
