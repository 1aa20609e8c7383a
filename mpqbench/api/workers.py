"""Where the jobs of a call are run: in this process, in processes beside it, or by Dask."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.claims import claims_below
from ..core.errors import BenchError
from ..core.progress import Reporter, reporter
from ..executors.base import InProcess, Task
from ..executors.processes import Processes

_OF_PROCESSES = ("workers", "devices", "isolate", "job_timeout", "job_memory")
_OF_DASK = ("workers", "scheduler")
_OF_EXECUTORS = ("executor", *_OF_PROCESSES, "scheduler")
EXECUTORS = ("in-process", "processes", "dask")


def run_with(
    prepare: Callable[..., Any], arguments: Sequence[Any], settings: Mapping[str, Any]
) -> Any:
    """Return what ``prepare(*arguments, **settings).run()`` does.

    The ``executor`` of ``settings`` is ``in-process``, the default; ``processes``, the default with
    one of ``workers``, ``devices``, ``isolate``, ``job_timeout`` and ``job_memory``; or ``dask``,
    the default with a ``scheduler``. Raises BenchError for what is wrong in the arguments, for
    options of another executor, for devices of two kinds, and where a worker found a mistake or
    none came to the end; what has not ended is then cancelled.
    """
    terms = {key: settings[key] for key in _OF_EXECUTORS if settings.get(key)}
    name = _executor_of(terms)
    given = without_workers(settings)
    shown = given.pop("reporter", None) or reporter()
    task = Task(prepare, tuple(arguments), given)
    if name == "in-process":
        return _completed(InProcess(shown), task)
    campaign = uuid.uuid4().hex
    task = replace(task, settings={**given, "campaign": campaign})
    if name == "dask":
        from ..executors.dask_cluster import run_on_cluster

        results = run_on_cluster(task, shown, terms.get("scheduler"), terms.get("workers"))
    else:
        results = _in_processes(task, shown, terms)
    for store in results.stores or (results.folder,):
        for claims in claims_below(store):
            claims.forget(campaign)
    return results


def without_workers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the jobs, without those of the processes that run them."""
    return {key: value for key, value in settings.items() if key not in _OF_EXECUTORS}


def _executor_of(terms: Mapping[str, Any]) -> str:
    """Return the name of the executor. Raises BenchError for options of another one."""
    usual = "processes" if any(key in terms for key in _OF_PROCESSES) else "in-process"
    name = terms.get("executor") or ("dask" if "scheduler" in terms else usual)
    if name not in EXECUTORS:
        raise BenchError(f"executor '{name}' is unknown: use {', '.join(EXECUTORS)}")
    known = {"in-process": (), "processes": _OF_PROCESSES, "dask": _OF_DASK}[name]
    for key in terms:
        if key not in ("executor", *known):
            option = "--" + key.replace("_", "-")
            raise BenchError(f"{option} is not for the executor '{name}': leave one of them out")
    return name


def _completed(executor: InProcess, task: Task) -> Any:
    with executor:
        executor.submit(task)
        return next(results for _, results in executor.as_completed())


def _in_processes(task: Task, shown: Reporter, terms: Mapping[str, Any]) -> Any:
    """Return the results of a task that several processes execute, sharing its jobs.

    There are as many as ``devices`` where there is no number of ``workers``, else one; worker i has
    device i, again from the first where there are more workers than devices.
    """
    devices, given = terms.get("devices", ()), dict(task.settings)
    kinds = {device.partition(":")[0] for device in devices}
    if len(kinds) > 1:
        raise BenchError(
            f"--devices {','.join(devices)}: use devices of one kind, as the records of "
            f"{' and '.join(sorted(kinds))} are not those of one run"
        )
    if devices:
        given["device"] = devices[0]
    first = replace(task, settings=given)
    folder = first.prepared(Reporter()).session.store.folder
    count = terms.get("workers") or len(devices) or 1
    limits = terms.get("job_timeout"), terms.get("job_memory")
    with Processes(shown, folder, given["campaign"], *limits) as executor:
        for n in range(count):
            own = {"device": devices[n % len(devices)]} if devices else {}
            executor.submit(replace(task, settings=given | own))
        for _ in executor.as_completed():
            pass
    return first.prepared(Reporter()).run()  # which reads what was made
