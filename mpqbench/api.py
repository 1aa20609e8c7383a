"""The Python calls behind the command line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .core.files import expanded
from .core.memory import keep_freed_memory
from .core.progress import reporter
from .core.registry import discover
from .core.suite import Job, Suite
from .job.guard import Guard
from .job.loading import Loader
from .job.patches import Patches
from .job.resources import Resources, Session
from .lab.outdated import Methods, find_outdated
from .lab.recount import Recount, recount_run
from .lab.suite import plan, run_suite, with_methods
from .lab.suites import load_suite
from .lab.verify import Verification, verify_run
from .metrics.features import usable_device
from .records.left_out import write_left_out
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


def verify_records(
    folder: Path | str,
    *,
    scores: bool = True,
    device: str = "cpu",
    plugins: Iterable[Path] = (),
) -> Iterator[Verification]:
    """Yield what recomputing finds out about each record of a run; see ``lab.verify``.

    With ``scores`` the metrics of kept samples are recomputed too, on ``device``; ``plugins`` are
    files of the methods that were run. Raises BenchError for a folder without records.
    """
    loader = Loader(str(usable_device(device)))
    return verify_run(RecordStore(folder), loader, discover(tuple(plugins)), scores=scores)


def recount_records(folder: Path | str, *, plugins: Iterable[Path] = ()) -> Iterator[Recount]:
    """Count the costs of all records of a run again; see ``lab.recount``."""
    return recount_run(RecordStore(folder), Loader("cpu"), discover(tuple(plugins)))


@dataclass(frozen=True)
class SuiteRun:
    """A suite with its settings, its jobs in order, and what they run with.

    ``methods`` are all of the suite, also those that are not run this time.
    """

    suite: Suite
    jobs: list[Job]
    session: Session
    methods: Methods

    def run(self) -> list[JobRecord]:
        """Run the jobs that are not done yet; return the records of all of them.

        Other records of the folder that are no longer the suite's are told, and left out of the
        tables of ``report``.
        """
        records = run_suite(self.jobs, self.session)
        outdated = find_outdated(self.jobs, self.methods, self.session)
        write_left_out(self.session.store, outdated)
        for job, why in outdated.items():
            self.session.reporter.say(f"{job} is left out of the tables: {why.reason}")
        return records


def prepare(
    suite: str = "quick", *, methods: Iterable[str] = (), fresh: bool = False, **settings: Any
) -> SuiteRun:
    """Return a suite ready to be run.

    ``methods`` are names instead of the suite's; with ``fresh`` jobs that are done run again. Other
    settings are those of ``open_session``; ``models``, ``budgets``, ``formats``, ``seeds`` and
    ``realizations`` instead of the suite's; and fields of the protocol, such as ``images``. Raises
    BenchError for a mistake in any of them.
    """
    names = ("plugins", "out", "device", "batch_size", "reporter")
    machine = {name: settings.pop(name) for name in names if name in settings}
    axes = ("models", "budgets", "formats", "seeds", "realizations")
    changes: dict[str, Any] = {name: settings.pop(name) for name in axes if name in settings}
    loaded = load_suite(suite, changes | {"protocol": settings})
    session = open_session(loaded.name, fresh, **machine)
    resolved = with_methods(loaded, tuple(methods), session.registry)
    jobs = plan(resolved, session.registry, session.device)
    return SuiteRun(resolved, jobs, session, loaded.named | resolved.named)


def open_session(
    name: str,
    fresh: bool = False,
    *,
    plugins: Iterable[Path] = (),
    out: Path | str | None = None,
    **machine: Any,
) -> Session:
    """Open the plugins, the device and the folder of results of jobs, ``out`` or ``runs/NAME``.

    ``plugins`` are files or folders with a PLUGINS table; ``machine`` has ``device`` and
    ``batch_size`` as in ``Resources``, and a ``reporter`` of progress. Raises BenchError for a
    plugin file that cannot be used and a folder that cannot be written to.
    """
    keep_freed_memory()
    store = RecordStore(expanded(out or Path("runs") / name))
    store.check_writable()
    machine["reporter"] = machine.get("reporter") or reporter()
    plugins = tuple(plugins)
    with Guard(Patches(), " ".join(("--plugins", *map(str, plugins)))):
        registry = discover(plugins)
    resources = Resources(registry, folder=store.folder / "cache", **machine)
    return Session(resources, store, fresh)
