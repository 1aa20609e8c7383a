"""What an executor is, and what it executes: calls that run all jobs of a run, or one of them."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from ..core.progress import Advance, Reporter


@dataclass(frozen=True)
class Task:
    """What is done with what a call ``prepare(*arguments, **settings)`` gives: one method of it.

    The task ``name`` is begun when those that ``after`` names have ended. All parts can be pickled.
    """

    prepare: Callable[..., Any]
    arguments: Sequence[Any]
    settings: Mapping[str, Any]
    method: str = "run"
    given: tuple[Any, ...] = ()
    name: str = "all jobs"
    after: tuple[str, ...] = ()

    def prepared(self, reporter: Reporter) -> Any:
        """Return what the call prepares. Raises BenchError for what is wrong in its arguments."""
        return self.prepare(*self.arguments, **self.settings, reporter=reporter)

    def result(self, prepared: Any) -> Any:
        """Return what the method returns."""
        return getattr(prepared, self.method)(*self.given)


class Executor(ABC):
    """Executes tasks. Leaving the ``with`` block cancels what has not ended."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Have ``task`` executed, after those of its ``after``, which were submitted before."""

    @abstractmethod
    def as_completed(self) -> Iterator[tuple[Task, Any]]:
        """Yield each task that ended, with its result.

        Raises BenchError where a task found a mistake, or where no process is left to execute.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the tasks that have not ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.cancel()


@dataclass
class InProcess(Executor):
    """Executes tasks in this process, when their results are asked for, in their order."""

    reporter: Reporter
    tasks: list[Task] = field(default_factory=list)

    def submit(self, task: Task) -> None:
        self.tasks.append(task)

    def as_completed(self) -> Iterator[tuple[Task, Any]]:
        while self.tasks:
            task = self.tasks.pop(0)
            yield task, task.result(task.prepared(self.reporter))

    def cancel(self) -> None:
        self.tasks.clear()


class Telling(Reporter, ABC):
    """Sends all progress to the process that shows it."""

    @abstractmethod
    def tell(self, **event: Any) -> None:
        """Send one event."""

    def say(self, line: str) -> None:
        self.tell(say=line)

    def say_other(self, line: str) -> None:
        """Say nothing: the other worker tells it."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        self.tell(stage=title, total=total)
        try:
            yield lambda done: self.tell(advance=done)
        finally:
            self.tell(end=title)


@dataclass
class Told:
    """Shows what several workers tell, under their names."""

    reporter: Reporter
    said: dict[str, str] = field(default_factory=dict)  # by which worker first
    _stages: dict[str, list[tuple[contextlib.ExitStack, Advance]]] = field(default_factory=dict)

    def show(self, worker: str, event: Mapping[str, Any]) -> None:
        """Show one event of ``Telling``."""
        match event:
            case {"say": text}:
                # All workers find the same jobs done before.
                if self.said.setdefault(text, worker) == worker:
                    self.reporter.say(f"worker {worker}: {text.strip()}")
            case {"stage": title, "total": total}:
                stack = contextlib.ExitStack()
                stage = self.reporter.stage(f"worker {worker}: {title}", total)
                self._stages.setdefault(worker, []).append((stack, stack.enter_context(stage)))
            case {"advance": done}:
                if self._stages.get(worker):
                    self._stages[worker][-1][1](done)
            case {"end": _}:
                self._end(worker)
            case {"out": text}:
                print(text, end="", flush=True)

    def forget(self, worker: str) -> None:
        """End what a worker that died has shown; others say again what it said."""
        while self._stages.get(worker):
            self._end(worker)
        self.said = {text: name for text, name in self.said.items() if name != worker}

    def _end(self, worker: str) -> None:
        if self._stages.get(worker):
            self._stages[worker].pop()[0].close()
