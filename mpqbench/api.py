"""The Python calls behind the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .core.memory import keep_freed_memory
from .core.progress import Reporter, reporter
from .core.registry import discover
from .core.suite import Job, Suite
from .job.resources import Resources, Session
from .lab.suite import plan, run_suite, with_methods
from .lab.suites import load_suite
from .records.schema import JobRecord
from .records.store import RecordStore


def run(suite: str = "quick", **settings: Any) -> list[JobRecord]:
    """Run the jobs of a suite that are not done yet; return the records of all of them.

    ``suite`` is the name of a built-in suite or the path of a YAML file; for ``settings`` see
    ``prepare``.
    """
    return prepare(suite, **settings).run()


def load_records(folder: Path | str) -> list[JobRecord]:
    """Return all records of a run. Raises BenchError at the first one that cannot be read."""
    return RecordStore(folder).read_all()


@dataclass(frozen=True)
class SuiteRun:
    """A suite with its settings, its jobs in order, and what they run with."""

    suite: Suite
    jobs: list[Job]
    session: Session

    def run(self) -> list[JobRecord]:
        """Run the jobs that are not done yet; return the records of all of them."""
        keep_freed_memory()
        return run_suite(self.jobs, self.session)


def prepare(
    suite: str = "quick",
    *,
    plugins: Iterable[Path] = (),
    out: Path | str | None = None,
    fresh: bool = False,
    **settings: Any,
) -> SuiteRun:
    """Return a suite ready to be run.

    ``plugins`` are files or folders with a PLUGINS table; ``out`` is the folder of the results
    (default ``runs/SUITE``); with ``fresh`` jobs that are done run again. Other settings are
    ``models``, ``methods``, ``budgets`` and ``seeds`` instead of the suite's, ``device`` and
    ``batch_size`` as in ``Resources``, a ``reporter`` of progress, and fields of the protocol,
    such as ``images``. Raises BenchError for a mistake in any of them.
    """
    registry = discover(plugins)
    machine = {key: settings.pop(key) for key in ("device", "batch_size") if key in settings}
    said: Reporter = settings.pop("reporter", None) or reporter()
    methods = settings.pop("methods", ())
    changes: dict[str, Any] = {"protocol": settings}
    changes |= {key: settings.pop(key) for key in ("models", "budgets", "seeds") if key in settings}
    resolved = with_methods(load_suite(suite, changes), methods, registry)
    store = RecordStore(out or Path("runs") / resolved.name)
    store.check_writable()
    resources = Resources(registry, folder=store.folder / "cache", reporter=said, **machine)
    jobs = plan(resolved, registry, resources.device)
    return SuiteRun(resolved, jobs, Session(resources, store, fresh))
