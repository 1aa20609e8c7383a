"""A run in several processes of this machine, which share its jobs by claims.

Each worker makes the same call as this process would. It tells its progress, one JSON object a
line, through a pipe; its standard error goes to ``logs/worker-N.log``. A worker whose
standard input ends has lost this process, and ends as well.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..core.errors import BenchError
from ..core.progress import Advance, Reporter, reporter
from ..lab.claims import FOLDER, Claims

_SECONDS = 30.0  # that a worker has to end after SIGTERM
_LOOK_SECONDS = 0.5  # between looks for jobs that take too long
_TRIES = 2  # of a job that ends the process that runs it
_OF_WORKERS = ("workers", "devices", "isolate", "job_timeout")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_with(
    prepare: Callable[..., Any], arguments: Sequence[Any], settings: Mapping[str, Any]
) -> Any:
    """Return what ``prepare(*arguments, **settings).run()`` does.

    It is run in this process, or as ``run_in_workers`` where ``settings`` have ``workers``,
    ``devices``, ``isolate`` or ``job_timeout``.
    """
    own = without_workers(settings)
    if not any(settings.get(key) for key in _OF_WORKERS):
        return prepare(*arguments, **own).run()
    terms = {key: settings[key] for key in _OF_WORKERS if settings.get(key)}
    return run_in_workers(prepare, arguments, own, **terms)


def without_workers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the jobs, without those of the processes that run them."""
    return {key: value for key, value in settings.items() if key not in _OF_WORKERS}


def run_in_workers(
    prepare: Callable[..., Any],
    arguments: Sequence[Any],
    settings: Mapping[str, Any],
    *,
    workers: int | None = None,
    devices: Sequence[str] = (),
    isolate: bool = False,
    job_timeout: float | None = None,
) -> Any:
    """Return what ``prepare(*arguments, **settings).run()`` does, which ``workers`` processes run.

    There are as many as ``devices`` where ``workers`` is ``None``, and one with ``isolate`` or
    ``job_timeout`` alone; worker i has device i, again from the first where there are more workers.
    ``OMP_NUM_THREADS`` is 1 for each where it is not set. A worker that ends before its jobs do is
    replaced; a job that has ended two of them fails, and so does one that takes more than
    ``job_timeout`` seconds, whose worker is killed. Raises BenchError for what is wrong in the
    arguments, for devices of two kinds, and where a worker found a mistake or none came to the end;
    they are all stopped then.
    """
    kinds = {device.partition(":")[0] for device in devices}
    if len(kinds) > 1:
        raise BenchError(
            f"--devices {','.join(devices)}: use devices of one kind, as the records of "
            f"{' and '.join(sorted(kinds))} are not those of one run"
        )
    count = workers or len(devices) or 1
    given = {**settings, "campaign": uuid.uuid4().hex}
    if devices:
        given["device"] = devices[0]
    shown = given.pop("reporter", None) or reporter()
    folder = prepare(*arguments, **given, reporter=Reporter()).session.store.folder
    tasks = [
        (
            prepare,
            tuple(arguments),
            given | ({"device": devices[n % len(devices)]} if devices else {}),
        )
        for n in range(count)
    ]
    crew = _Crew(shown, folder, tasks, given["campaign"], job_timeout)
    try:
        crew.run()
    finally:
        crew.stop()
    results = prepare(*arguments, **given, reporter=Reporter()).run()  # which reads what was made
    for store in results.stores or (results.folder,):
        Claims(store / FOLDER).forget(given["campaign"])
    return results


@dataclass
class _Worker:
    number: int
    process: "subprocess.Popen[bytes]"
    log: Path
    task: tuple[Any, ...]
    error: str = ""
    died: bool = False
    thread: threading.Thread = field(init=False)


@dataclass
class _Crew:
    """The workers of one run, and what they told."""

    reporter: Reporter
    folder: Path
    tasks: Sequence[tuple[Any, ...]]
    campaign: str
    timeout: float | None = None
    workers: list[_Worker] = field(default_factory=list)
    said: dict[str, int] = field(default_factory=dict)  # by which worker first
    _ended: Counter[str] = field(default_factory=Counter)  # workers that a job has ended
    _since: dict[str, float] = field(default_factory=dict)  # when a claim was seen first, by token

    def run(self) -> None:
        """Run a worker for each task. Raises BenchError as ``run_in_workers``."""
        for task in self.tasks:
            self._start(task)
        self._wait()

    def _start(self, task: tuple[Any, ...]) -> None:
        """Start a worker with its task."""
        number = len(self.workers) + 1
        log = self.folder / "logs" / f"worker-{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        reads, writes = os.pipe()
        words = [sys.executable, "-m", "mpqbench.api.worker", str(writes)]
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
        with contextlib.suppress(BrokenPipeError):  # it ended at once, as ``wait`` tells
            pickle.dump(task, process.stdin)
            process.stdin.flush()

    def _wait(self) -> None:
        left, looked = list(self.workers), time.monotonic()
        while left:
            for worker in left:
                worker.thread.join(0.1)
            if self.timeout is not None and time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                self._end_late(left)
            for worker in [worker for worker in left if not worker.thread.is_alive()]:
                left.remove(worker)
                code = worker.process.wait()
                if worker.error:
                    raise BenchError(worker.error)
                blamed = self._blame(worker)  # a plugin may also end its process with code 0
                worker.died = bool(code) or blamed
                if worker.died:  # what it said, as that a job begins, others say anew
                    self.said = {t: n for t, n in self.said.items() if n != worker.number}
                if blamed:
                    self._start(worker.task)
                    left.append(self.workers[-1])
                if worker.died and left:
                    self.reporter.say(f"{_end(worker)}; others take over its job")
        if all(worker.died for worker in self.workers):
            raise BenchError(
                f"{'; '.join(map(_end, self.workers))}: not all jobs were run; the same command "
                "resumes here"
            )

    def _blame(self, worker: _Worker) -> bool:
        """Count the jobs that a worker ran when it ended; return whether there was any."""
        found = False
        for claims, job, _ in self._running(worker):
            found = True
            self._ended[job] += 1
            if self._ended[job] >= _TRIES and not claims.reason_of(job, self.campaign):
                claims.give_up(job, self.campaign, f"{_end(worker)}, as did one before")
        return found

    def _end_late(self, workers: Sequence[_Worker]) -> None:
        """Kill the workers whose job has taken too long, which fails."""
        for worker in workers:
            for claims, job, token in self._running(worker):
                since = self._since.setdefault(token, time.monotonic())
                if self.timeout is not None and time.monotonic() - since > self.timeout:
                    reason = f"stopped after {self.timeout:g} s (--job-timeout)"
                    claims.give_up(job, self.campaign, reason)
                    worker.process.kill()

    def _running(self, worker: _Worker) -> Iterator[tuple[Claims, str, str]]:
        """Yield the claims that a worker holds, their jobs and tokens."""
        for place in (
            FOLDER,
            f"*/{FOLDER}",
            f"*/*/{FOLDER}",
        ):  # cells of an ablation have their own
            for folder in self.folder.glob(place):
                claims = Claims(folder)
                for job, token in claims.of_process(worker.process.pid).items():
                    yield claims, job, token

    def stop(self) -> None:
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

    def _listen(self, worker: _Worker, lines: IO[str]) -> None:
        """Show what a worker tells until it ends."""
        with contextlib.ExitStack() as stage, lines:
            advance: Advance = lambda done: None  # noqa: E731
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:  # the last line of a worker that was killed
                    continue
                match told:
                    case {"say": text}:
                        # All workers find the same jobs done before.
                        if self.said.setdefault(text, worker.number) == worker.number:
                            self.reporter.say(f"worker {worker.number}: {text.strip()}")
                    case {"stage": title, "total": total}:
                        title = f"worker {worker.number}: {title}"
                        advance = stage.enter_context(self.reporter.stage(title, total))
                    case {"advance": done}:
                        advance(done)
                    case {"end": _}:
                        stage.close()
                    case {"out": text}:
                        print(text, end="", flush=True)
                    case {"error": text}:
                        worker.error = text


def _end(worker: _Worker) -> str:
    code = worker.process.returncode
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"worker {worker.number} {how} (see {worker.log})"
