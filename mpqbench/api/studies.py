"""Ablations and studies: many jobs, and what is concluded from them together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import BenchError, unknown
from ..core.jackknife import GROUPS
from ..core.precision import Budget, Precision
from ..core.protocol import PROTOCOLS
from ..core.recipe import PluginChoice
from ..core.settings import validate
from ..core.suite import Job, Suite
from ..core.yaml_text import read_yaml
from ..dit.configs import check_model
from ..job.resources import Session
from ..lab.ablation.design import Design, Factors, merged, parse_factors
from ..lab.ablation.run import PlannedAblation, jobs_of, stores_of, write_effects
from ..lab.by_job import ByJob
from ..lab.study import branches as branch_study
from ..lab.study.proxies import measure_allocations, run_proxies, single_job
from ..lab.study.searchers import run_searchers, with_evaluations
from ..lab.suite import has_failed, plan, run_suite, with_methods
from ..lab.suites import load_suite
from ..metrics.features import usable_device
from ..records.variance import realization_table
from ..report.ablation import write_ablation
from ..report.realizations import write_realizations
from ..report.studies import searcher_table, write_branches, write_proxies, write_searchers
from ..report.write import write_report
from .jobs import MACHINE, Results, open_session, split
from .workers import run_with

FEWEST_ALLOCATIONS = 20


def ablate(
    method: str | Path,
    factors: Factors | Sequence[str | Factors] = (),
    sweeps: Sequence[str] = (),
    **settings: Any,
) -> Results:
    """Switch the components of a method on and off and estimate the effect of each.

    ``method`` is a name or a YAML file with a recipe; ``factors`` are ``{factor: {level: {field:
    value}}}`` or texts such as ``"searcher=tss|ilp"``, by default every slot that the method fills;
    ``sweeps`` are texts such as ``"environment.noise=0,0.5,1"``. ``settings`` are ``full=False``
    for one change at a time; ``scale="linear"`` for differences; ``protocol`` (a name, ``quick``);
    and those of ``run``. The results have the tables ``cells`` and, of a factorial, ``effects``.
    Raises BenchError for a mistake in any of them, before a job is run.

    Examples:
        >>> few = {"images": 4, "steps": 1, "micro_batch": 4, "calibration": 4, "features": "none"}
        >>> varied = ["rounding.damping=0.01|0.1"]
        >>> found = ablate("gptq", varied, budgets=["W3A3"], out="out", **few)  # doctest: +SKIP
        >>> found.tables["effects"][["level", "value"]]                         # doctest: +SKIP
    """
    return run_with(prepare_ablation, (method, factors, sweeps), settings)


def study(name: str, **settings: Any) -> Results:
    """Compare searchers, proxies, branches or realizations; ``name`` is also that of the table.

    ``settings`` are those of ``prepare_searchers``, ``prepare_proxies``, ``prepare_branches`` or
    ``prepare_realizations``; of all but branches also ``workers``, processes that share the jobs.
    Raises BenchError for an unknown name and a mistake in the settings, before a job is run.

    Examples:
        >>> found = study("searchers", budgets=["W3A3"], seeds=[0])  # doctest: +SKIP
        >>> found.tables["searchers"][["method", "regret"]]          # doctest: +SKIP
    """
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    if name == "branches":
        return prepare_branches(**settings).run()
    return run_with(STUDIES[name], (), settings)


@dataclass(frozen=True)
class AblationRun(ByJob):
    """An ablation ready to be run: ``given`` are the keys of its suite but the methods."""

    planned: PlannedAblation
    given: Mapping[str, Any]
    session: Session

    def batches(self) -> list[tuple[Session, list[Job]]]:
        parts = jobs_of(self.planned.cells, self.given, self.session)
        return [(replace(self.session, store=store), jobs) for store, jobs in parts]

    def run(self) -> Results:
        """Run what is not done; return the records of all cells. Raises BenchError."""
        folder = self.session.store.folder
        kept, result = self.planned.run(self.given, self.session)
        stores = tuple(store.folder for store, _ in stores_of(self.planned.cells, folder))
        tables = {"cells": result.cells}
        if result.effects is not None:
            tables["effects"] = result.effects

        def write() -> list[Path]:
            own = [kept, *write_effects(result, folder), *write_ablation(result, folder)]
            return own + [path for store in stores for path in write_report([store])]

        records = tuple(result.records)
        return Results(folder, records, has_failed(records), tables, stores, write)


def prepare_ablation(
    method: str | Path,
    factors: Factors | Sequence[str | Factors] = (),
    sweeps: Sequence[str] = (),
    **settings: Any,
) -> AblationRun:
    """Return an ablation ready to be run; arguments and errors are those of ``ablate``."""
    kind: dict[str, Any] = {k: settings.pop(k) for k in ("full", "scale") if k in settings}
    if sweeps and not kind.get("full", True):
        raise BenchError("--sweep varies one number: leave out --one-at-a-time (full=False)")
    if sweeps and kind.get("scale", "log") != "log":
        raise BenchError("--sweep estimates no effects: leave out --scale")
    machine, given = _suite_of_cells(settings)
    formats = given.pop("formats", ())
    if len(formats) > 1:
        raise BenchError("an ablation is in one class of formats: give --formats one")
    path = Path(method) if str(method).endswith((".yaml", ".yml")) else None
    session = _open(f"ablate-{path.stem if path else method}", machine)
    recipe = session.registry.method(_recipe(path) if path else str(method))
    for name in formats:
        recipe = recipe.in_class(name)
    several = [factors] if isinstance(factors, Mapping) else factors
    varied = parse_factors([each for each in several if isinstance(each, str)], recipe)
    for each in several:
        if isinstance(each, Mapping):
            varied = merged(varied, dict(each))
    data: dict[str, Any] = {"method": recipe, "factors": varied, "sweeps": tuple(sweeps), **kind}
    planned = PlannedAblation.of(validate(Design, data, "ablation"), session.registry)
    return AblationRun(planned, given, session)


def _suite_of_cells(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``open_session`` takes, and the keys of a suite but its methods."""
    machine, changes = split({k: v for k, v in settings.items() if k != "protocol"})
    protocol = settings.get("protocol", "quick")
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    for model in changes.get("models", ()):
        check_model(model)
    changes["protocol"] = PROTOCOLS[protocol].model_dump() | changes["protocol"]
    usual: dict[str, Any] = {"name": "ablation", "budgets": ("W4A4", "W3A3")}
    return machine, usual | changes


def _recipe(path: Path) -> dict[str, Any]:
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise BenchError(f"{path}: a recipe is a mapping with name, base, searcher, ...")
    return {"name": path.stem, **data}


def _open(name: str, machine: Mapping[str, Any]) -> Session:
    """Open what a study runs with. Raises BenchError for a device that this machine lacks."""
    session = open_session(name, **machine)
    usable_device(session.device)
    return session


@dataclass(frozen=True)
class StudyRun(ByJob):
    """A study ready to be run: ``subject`` is its suite, or its plan of branches.

    ``measure`` runs the jobs, which several processes may share, and ``conclude`` all that is not
    done. ``jobs`` are missing where they are known only later.
    """

    subject: Any
    session: Session
    conclude: Callable[[], Results]
    measure: Callable[[], Any] = lambda: None
    jobs: Sequence[Job] = ()
    concludes = True

    def batches(self) -> list[tuple[Session, Sequence[Job]]]:
        return [(self.session, self.jobs)] if self.jobs else []

    def share(self) -> None:
        self.measure()

    def run(self) -> Results:
        """Run the study. Raises BenchError."""
        return self.conclude()


def prepare_searchers(
    suite: str = "searchers",
    methods: Sequence[str] = (),
    evaluations: float | None = None,
    **settings: Any,
) -> StudyRun:
    """Return the comparison of the searchers of a suite at equal evaluations.

    ``methods`` are those of the suite to run alone; ``evaluations`` what every search may spend, in
    forwards of the calibration set; ``settings`` are those of ``run``. Raises BenchError.
    """
    machine, changes = split(settings)
    resolved = with_methods(_loaded(suite, changes), methods)
    resolved = with_evaluations(resolved, evaluations)
    session = _open(resolved.name, machine)
    jobs = plan(resolved, session.registry, session.device)

    def run() -> Results:
        records, regrets, failed = run_searchers(resolved, session)
        folder = session.store.folder

        def write() -> list[Path]:
            return [*write_searchers(records, regrets, folder), *write_report([folder])]

        tables = {"searchers": searcher_table(records, regrets).frame}
        return Results(folder, tuple(records), failed, tables, writer=write)

    return StudyRun(resolved, session, run, partial(run_suite, jobs, session), jobs)


def prepare_proxies(allocations: int = 64, method: str | None = None, **settings: Any) -> StudyRun:
    """Return the ranking of every objective in every environment by Kendall's tau with FD.

    ``allocations`` are sampled and measured, 20 at least; ``method`` is their recipe instead of
    ``rtn``; ``settings`` are those of ``run``, with one budget and one seed. Raises BenchError.
    """
    if allocations < FEWEST_ALLOCATIONS:
        raise BenchError(f"study proxies needs {FEWEST_ALLOCATIONS} allocations, not {allocations}")
    machine, changes = split(settings)
    changes |= {} if method is None else {"methods": (method,)}
    resolved = _loaded("proxies", changes)
    session = _open(resolved.name, machine)
    single_job(resolved, session)

    def run() -> Results:
        found, records, paths = run_proxies(resolved, session, allocations)
        folder, failed = session.store.folder, len(records) < allocations

        def write() -> list[Path]:
            return paths + write_proxies(found, records, folder)

        return Results(folder, tuple(records), failed, {"proxies": found}, writer=write)

    measure = partial(measure_allocations, resolved, session, allocations)
    return StudyRun(resolved, session, run, measure)


def prepare_realizations(
    suite: str = "realizations", methods: Sequence[str] = (), **settings: Any
) -> StudyRun:
    """Return the comparison of the spread between realizations with that over images.

    ``methods`` are those of the suite to run alone; ``settings`` are those of ``run``, with two
    ``realizations`` or more where the suite has fewer. Raises BenchError.
    """
    machine, changes = split(settings)
    resolved = with_methods(_loaded(suite, changes), methods)
    if max(map(resolved.realizations_of, resolved.named)) < 2:
        raise BenchError("study realizations needs --realizations 2 or more")
    if resolved.protocol.images < GROUPS or resolved.protocol.features == "none":
        raise BenchError(f"study realizations compares FD of {GROUPS} images or more: use --images")
    session = _open(resolved.name, machine)
    jobs = plan(resolved, session.registry, session.device)

    def run() -> Results:
        records, folder = run_suite(jobs, session), session.store.folder
        found = realization_table(records)

        def write() -> list[Path]:
            return [*write_realizations(found, records, folder), *write_report([folder])]

        tables = {"realizations": found}
        return Results(folder, tuple(records), has_failed(records), tables, writer=write)

    return StudyRun(resolved, session, run, partial(run_suite, jobs, session), jobs)


def prepare_branches(
    model: str = "fashion-dit",
    method: str = "rtn",
    branches: Sequence[str | Mapping[str, Any] | PluginChoice] = (),
    **settings: Any,
) -> StudyRun:
    """Return the comparison of branches at equal bytes beside every layer.

    ``method`` is the recipe of the layers; ``branches`` are compared beside the usual ones.
    ``settings`` are ``bits`` of the weights (3, 4); ``ranks`` whose bytes a branch has (2, 4, 8);
    ``seed``; ``calibration``, the number of inputs (64); ``device``, ``out``, ``plugins``. Raises
    BenchError for others and for what is wrong in them.
    """
    check_model(model)
    given: dict[str, Any] = {"bits": (3, 4), "ranks": (2, 4, 8), "seed": 0, "calibration": 64}
    machine = {key: settings.pop(key) for key in MACHINE if key in settings}
    for key in settings.keys() - given.keys():
        raise unknown("setting of study branches", key, [*given, *MACHINE])
    given |= settings
    session = _open("branches", machine)
    protocol = PROTOCOLS["quick"].model_copy(
        update={"calibration": given["calibration"], "features": "none"}
    )
    ranks, bits = (tuple(sorted(set(given[key]))) for key in ("ranks", "bits"))
    recipe, budget = session.registry.method(method), Budget(Precision(min(bits), None))
    job = Job(model, recipe, budget, given["seed"], protocol, session.device)
    more = [validate(PluginChoice, choice, "branches") for choice in branches]
    chosen = branch_study.BranchPlan(job, (*branch_study.BRANCHES, *more), ranks, bits)

    def run() -> Results:
        found, path = branch_study.run_branches(chosen, session)
        folder = session.store.folder

        def write() -> list[Path]:
            return [path, *write_branches(found, job, folder)]

        return Results(folder, tables={"branches": found}, writer=write)

    return StudyRun(chosen, session, run)


def _loaded(suite: str, changes: Mapping[str, Any]) -> Suite:
    resolved = load_suite(suite, dict(changes))
    for model in resolved.models:
        check_model(model)
    return resolved


STUDIES: Mapping[str, Callable[..., StudyRun]] = {
    "searchers": prepare_searchers,
    "proxies": prepare_proxies,
    "realizations": prepare_realizations,
    "branches": prepare_branches,
}
