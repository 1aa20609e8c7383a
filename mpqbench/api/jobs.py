"""Suites: their jobs and records; and what recomputing finds out about records."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.claims import campaign_of_environment
from ..core.files import expanded
from ..core.memory import keep_freed_memory
from ..core.progress import reporter
from ..core.registry import discover
from ..core.suite import Job, Suite
from ..job.guard import Guard
from ..job.loading import Loader
from ..job.patches import Patches
from ..job.resources import Resources, Session
from ..lab.by_job import ByJob
from ..lab.outdated import Methods, find_outdated
from ..lab.recount import Recount, recount_run
from ..lab.suite import has_failed, plan, run_suite, with_methods
from ..lab.suites import load_suite
from ..lab.verify import Verification, verify_run
from ..metrics.features import usable_device
from ..records.left_out import write_left_out
from ..records.schema import JobRecord
from ..records.store import RecordStore
from ..report.write import write_report
from .results import load_records, table
from .workers import run_with

if TYPE_CHECKING:
    import pandas as pd

MACHINE = ("plugins", "out", "device", "batch_size", "reporter", "campaign")
AXES = ("models", "budgets", "formats", "seeds", "realizations")


@dataclass(frozen=True, eq=False)
class Results(Sequence[JobRecord]):
    """The records of jobs in the order of the jobs, as a sequence, and where their files are.

    ``folder`` is that of the results and ``stores`` are those with the records. ``has_failed`` says
    whether a job failed; one that diverged or found no allocation is a result. ``tables`` are what
    was concluded: ``cells`` and ``effects`` of an ablation, the table of a study by its name.
    """

    folder: Path
    records: tuple[JobRecord, ...] = ()
    has_failed: bool = False
    tables: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    stores: tuple[Path, ...] = ()
    writer: Callable[[], list[Path]] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: Any) -> Any:
        return self.records[index]

    @property
    def frame(self) -> "pd.DataFrame":
        """The records as rows of ``load_records``. Raises BenchError where there are none."""
        frame = load_records(*(self.stores or (self.folder,)))
        return frame[frame["job"].isin([record.job for record in self.records])]

    def table(self, kind: str = "frame", **options: Any) -> Any:
        """Return the leaderboard, as ``mpqbench.table`` does."""
        return table(self.frame, kind, **options)

    def write(self) -> list[Path]:
        """Write all tables and figures into ``folder``, as the command does; return their paths."""
        if self.writer is not None:
            return self.writer()
        return [path for store in self.stores or (self.folder,) for path in write_report([store])]


def run(suite: str = "quick", **settings: Any) -> Results:
    """Run the jobs of a suite that are not done yet; return the records of all of them.

    ``suite`` is the name of a built-in suite or the path of a YAML file. ``settings`` are

    - ``methods``: names instead of the suite's;
    - ``models``, ``budgets``, ``formats``, ``seeds`` and ``realizations`` instead of the suite's;
    - fields of the protocol, such as ``images``, ``steps`` or ``features``;
    - ``out``, the folder of results (``runs/SUITE``), ``device``, ``batch_size``, ``plugins``
      (files with a PLUGINS table), ``reporter`` of progress;
    - ``workers``, processes that share the jobs instead of this one, and ``devices``, one each;
      ``isolate=True``, ``job_timeout`` in seconds or ``job_memory`` in GB, for jobs that may end
      their process, block it or need too much memory;
    - ``executor``, ``"in-process"``, ``"processes"`` or ``"dask"``, and ``scheduler``, the address
      of Dask's, without which Dask starts ``workers`` of its own;
    - ``fresh=True``, to run again what is done.

    Raises BenchError for a mistake in any of them, before a job is run. A job that fails raises
    nothing: its record says why.

    Examples:
        >>> from mpqbench.core.progress import Reporter  # says nothing
        >>> few = {"images": 4, "steps": 1, "micro_batch": 4, "calibration": 4, "features": "none"}
        >>> results = run("smoke", budgets=["W4A4"], out="out", reporter=Reporter(), **few)
        >>> [(record.method, record.budget, record.status) for record in results]
        [('full-precision', 'FP', 'done'), ('rtn', 'W4A4', 'done')]
        >>> results.frame["bytes"].tolist()
        [7304256, 2631744]
    """
    return run_with(prepare, (suite,), settings)


def verify_records(
    folder: Path | str,
    *,
    scores: bool = True,
    from_images: bool = False,
    device: str = "cpu",
    plugins: Iterable[Path] = (),
) -> Iterator[Verification]:
    """Yield what recomputing finds out about each record of a run; see ``lab.verify``.

    With ``scores`` the metrics of kept samples are recomputed too, on ``device``; with
    ``from_images`` kept features are not used; ``plugins`` are files of the methods that were run.
    Raises BenchError for a folder without records.
    """
    loader, registry = Loader(str(usable_device(device))), discover(tuple(plugins))
    store = RecordStore(folder)
    return verify_run(store, loader, registry, scores=scores, from_images=from_images)


def recount_records(folder: Path | str, *, plugins: Iterable[Path] = ()) -> Iterator[Recount]:
    """Count the costs of all records of a run again; see ``lab.recount``."""
    return recount_run(RecordStore(folder), Loader("cpu"), discover(tuple(plugins)))


@dataclass(frozen=True)
class SuiteRun(ByJob):
    """A suite with its settings, its jobs in order, and what they run with.

    ``methods`` are all of the suite, also those that are not run this time.
    """

    suite: Suite
    jobs: list[Job]
    session: Session
    methods: Methods

    def batches(self) -> list[tuple[Session, list[Job]]]:
        return [(self.session, self.jobs)]

    def run(self) -> Results:
        """Run the jobs that are not done yet; return the results of all of them.

        Other records of the folder that are no longer the suite's are told, and left out of the
        tables of ``report``.
        """
        records = run_suite(self.jobs, self.session)
        outdated = find_outdated(self.jobs, self.methods, self.session)
        write_left_out(self.session.store, outdated)
        for job, why in outdated.items():
            self.session.reporter.say(f"{job} is left out of the tables: {why.reason}")
        return Results(self.session.store.folder, tuple(records), has_failed(records))


def prepare(
    suite: str = "quick", *, methods: Iterable[str] = (), fresh: bool = False, **settings: Any
) -> SuiteRun:
    """Return a suite ready to be run.

    ``methods`` are names instead of the suite's; with ``fresh`` jobs that are done run again. Other
    settings are those of ``open_session``; ``models``, ``budgets``, ``formats``, ``seeds`` and
    ``realizations`` instead of the suite's; and fields of the protocol, such as ``images``. Raises
    BenchError for a mistake in any of them.
    """
    machine, changes = split(settings)
    loaded = load_suite(suite, changes)
    session = open_session(loaded.name, fresh, **machine)
    resolved = with_methods(loaded, tuple(methods), session.registry)
    jobs = plan(resolved, session.registry, session.device)
    return SuiteRun(resolved, jobs, session, loaded.named | resolved.named)


def split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``open_session`` takes of ``settings``, and the rest as keys of a suite.

    What is neither a key of a suite is a field of its protocol.
    """
    machine = {name: settings[name] for name in MACHINE if name in settings}
    changes: dict[str, Any] = {name: settings[name] for name in AXES if name in settings}
    rest = {k: v for k, v in settings.items() if k not in (*MACHINE, *AXES)}
    return machine, changes | {"protocol": rest}


def open_session(
    name: str,
    fresh: bool = False,
    *,
    plugins: Iterable[Path] = (),
    out: Path | str | None = None,
    campaign: str = "",
    **machine: Any,
) -> Session:
    """Open the plugins, the device and the folder of results of jobs, ``out`` or ``runs/NAME``.

    ``plugins`` are files or folders with a PLUGINS table; ``machine`` has ``device`` and
    ``batch_size`` as in ``Resources``, and a ``reporter`` of progress; ``campaign`` is that of
    ``Session``, or of the environment. Raises BenchError for a plugin file that cannot be used and
    a folder that cannot be written to.
    """
    keep_freed_memory()
    store = RecordStore(expanded(out or Path("runs") / name))
    store.check_writable()
    machine["reporter"] = machine.get("reporter") or reporter()
    plugins = tuple(plugins)
    with Guard(Patches(), " ".join(("--plugins", *map(str, plugins)))):
        registry = discover(plugins)
    resources = Resources(registry, folder=store.folder / "cache", **machine)
    return Session(resources, store, fresh, campaign or campaign_of_environment())
