"""Processes of this machine, each of which executes a task.

A process tells its progress, one JSON object a line, through a pipe; its standard error goes to
``logs/worker-N.log``. A process whose standard input ends has lost this one, and ends as well.
Tasks on one folder of results share the jobs by claims.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..core.claims import Claims, claims_below
from ..core.errors import BenchError
from ..core.processes import memory_of
from ..core.progress import Reporter
from .base import Executor, Task, Told

_SECONDS = 30.0  # that a worker has to end after SIGTERM
_LOOK_SECONDS = 0.5  # between looks for jobs that take too long or too much memory
_TRIES = 2  # of a job that ends the process that runs it
# A worker imports what this process imports: ``python -m`` would look into the present folder
# first, where a clone has a folder of the name of the package that is installed.
_COMMAND = """import sys
sys.path[:] = {path!r}
from mpqbench.executors.worker import main
sys.exit(main())
"""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class _Worker:
    number: int
    process: "subprocess.Popen[bytes]"
    log: Path
    task: Task
    error: str = ""
    died: bool = False
    thread: threading.Thread = field(init=False)


@dataclass
class Processes(Executor):
    """Executes each task in a process of its own, all at once.

    ``folder`` is that of the results. ``OMP_NUM_THREADS`` is 1 for each process where it is not
    set. A process that ends before its jobs do is replaced; a job of ``campaign`` that has ended
    two of them fails, and so does one that takes more than ``timeout`` seconds, or whose process
    needs more than ``memory`` GB: that process is killed.
    """

    reporter: Reporter
    folder: Path
    campaign: str
    timeout: float | None = None
    memory: float | None = None
    tasks: list[Task] = field(default_factory=list)
    workers: list[_Worker] = field(default_factory=list)
    _ended: Counter[str] = field(default_factory=Counter)  # workers that a job has ended
    _since: dict[str, float] = field(default_factory=dict)  # when a claim was seen first, by token

    def __post_init__(self) -> None:
        self.told = Told(self.reporter)

    def submit(self, task: Task) -> None:
        self.tasks.append(task)

    def as_completed(self) -> Iterator[tuple[Task, None]]:
        """Yield each task that ended; the results are on disk."""
        while self.tasks:
            self._start(self.tasks.pop(0))
        left, looked = list(self.workers), time.monotonic()
        while left:
            for worker in left:
                worker.thread.join(0.1)
            if self.limited and time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                self._end_beyond_limits(left)
            for worker in [worker for worker in left if not worker.thread.is_alive()]:
                left.remove(worker)
                if self._finish(worker):
                    self._start(worker.task)
                    left.append(self.workers[-1])
                if worker.died and left:
                    self.reporter.say(f"{_end(worker)}; others take over its job")
                if not worker.died:
                    yield worker.task, None
        if self.workers and all(worker.died for worker in self.workers):
            raise BenchError(
                f"{'; '.join(map(_end, self.workers))}: not all jobs were run; the same command "
                "resumes here"
            )

    def cancel(self) -> None:
        """End the workers that still run, and remove logs without a line."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        for worker in self.workers:
            try:
                worker.process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.thread.join(1)
            with contextlib.suppress(OSError):
                if worker.log.stat().st_size == 0:
                    worker.log.unlink()
                assert worker.process.stdin is not None
                worker.process.stdin.close()

    def _start(self, task: Task) -> None:
        number = len(self.workers) + 1
        log = self.folder / "logs" / f"worker-{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        reads, writes = os.pipe()
        words = [sys.executable, "-c", _COMMAND.format(path=sys.path), str(writes)]
        own = os.environ | {name: os.environ.get(name, "1") for name in _THREADS}
        with log.open("wb") as out:
            process = subprocess.Popen(
                words, env=own, stdin=subprocess.PIPE, stdout=out, stderr=out, pass_fds=[writes],
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others
            )  # fmt: skip
        os.close(writes)
        worker = _Worker(number, process, log, task)
        lines = os.fdopen(reads, encoding="utf-8")
        worker.thread = threading.Thread(target=self._listen, args=(worker, lines), daemon=True)
        worker.thread.start()
        self.workers.append(worker)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once, as ``_finish`` tells
            pickle.dump(task, process.stdin)
            process.stdin.flush()

    def _finish(self, worker: _Worker) -> bool:
        """Note how a worker ended; return whether another one is to take its place."""
        code = worker.process.wait()
        if worker.error:
            raise BenchError(worker.error)
        blamed = self._blame(worker)  # a plugin may also end its process with code 0
        worker.died = bool(code) or blamed
        if worker.died:
            self.told.forget(str(worker.number))
        return blamed

    def _blame(self, worker: _Worker) -> bool:
        """Count the jobs that a worker ran when it ended; return whether there was any."""
        found = False
        for claims, job, _ in self._running(worker):
            found = True
            self._ended[job] += 1
            if self._ended[job] >= _TRIES and not claims.reason_of(job, self.campaign):
                claims.give_up(job, self.campaign, f"{_end(worker)}, as did one before")
        return found

    @property
    def limited(self) -> bool:
        """Whether a job may take too long or too much memory."""
        return self.timeout is not None or self.memory is not None

    def _end_beyond_limits(self, workers: list[_Worker]) -> None:
        """Kill the workers whose job takes too long or too much memory, which fails."""
        for worker in workers:
            used = memory_of(worker.process.pid) / 1e9 if self.memory is not None else 0
            for claims, job, token in self._running(worker):
                lasted = time.monotonic() - self._since.setdefault(token, time.monotonic())
                if self.timeout is not None and lasted > self.timeout:
                    reason = f"stopped after {self.timeout:g} s (--job-timeout)"
                elif self.memory is not None and used > self.memory:
                    reason = f"stopped at {used:.3g} GB of memory (--job-memory {self.memory:g})"
                else:
                    continue
                claims.give_up(job, self.campaign, reason)
                worker.process.kill()

    def _running(self, worker: _Worker) -> Iterator[tuple[Claims, str, str]]:
        """Yield the claims that a worker holds, their jobs and tokens."""
        for claims in claims_below(self.folder):
            for job, token in claims.of_process(worker.process.pid).items():
                yield claims, job, token

    def _listen(self, worker: _Worker, lines: IO[str]) -> None:
        """Show what a worker tells until it ends."""
        with lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:  # the last line of a worker that was killed
                    continue
                if "error" in event:
                    worker.error = event["error"]
                self.told.show(str(worker.number), event)


def _end(worker: _Worker) -> str:
    code = worker.process.returncode
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"worker {worker.number} {how} (see {worker.log})"
