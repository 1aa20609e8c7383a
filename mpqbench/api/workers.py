"""Where the jobs of a call are run: in this process, in processes beside it, or by Dask."""

import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.claims import claims_below
from ..core.errors import BenchError
from ..core.progress import Reporter, reporter
from ..executors.base import InProcess, Task
from ..executors.processes import Processes
from ..lab.suite import look_up

_OF_PROCESSES = ("workers", "devices", "isolate", "job_timeout", "job_memory")
_OF_DASK = ("workers", "scheduler")
_OF_EXECUTORS = ("executor", *_OF_PROCESSES, "scheduler")
EXECUTORS = ("in-process", "processes", "dask")
AUTO = "auto"  # as many workers as there are processors
_BYTES = 2e9  # of a worker, with a small model and its batches (our choice)
_COPIES = 4  # of the weights of a larger one in a worker: in float32, quantized, and on their way


def run_with(
    prepare: Callable[..., Any], arguments: Sequence[Any], settings: Mapping[str, Any]
) -> Any:
    """Return what ``prepare(*arguments, **settings).run()`` does.

    The ``executor`` of ``settings`` is ``in-process``, the default; ``processes``, the default with
    one of ``workers``, ``devices``, ``isolate``, ``job_timeout`` and ``job_memory``; or ``dask``,
    the default with a ``scheduler``. ``workers`` may be ``"auto"``. Raises BenchError for what is
    wrong in the arguments, for options of another executor, for devices of two kinds, and where a
    worker found a mistake or none came to the end; what has not ended is then cancelled.
    """
    terms = {key: settings[key] for key in _OF_EXECUTORS if settings.get(key)}
    if terms.get("workers") == AUTO and usual_workers() == 1:
        del terms["workers"]
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
    device i, again from the first where there are more workers than devices. With ``"auto"`` there
    are ``usual_workers``, but no more than shards are left, and none is started for nothing.
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
    prepared = first.prepared(Reporter())
    folder, count = prepared.session.store.folder, terms.get("workers") or len(devices) or 1
    if count == AUTO:
        count = usual_workers(_models(prepared))
        if prepared.batches():  # else the jobs are not known yet
            count = min(count, _shards_left(prepared))
        if not count:
            return first.prepared(shown).run()
        processes = "process" if count == 1 else "processes"
        shown.say(f"{count} {processes} of this machine (--workers) for the jobs that are left")
    limits = terms.get("job_timeout"), terms.get("job_memory")
    with Processes(shown, folder, given["campaign"], *limits) as executor:
        for n in range(count):
            own = {"device": devices[n % len(devices)]} if devices else {}
            executor.submit(replace(task, settings=given | own, method="share"))
        for _ in executor.as_completed():
            pass
    # Which reads what was made, and concludes from it.
    return first.prepared(shown if prepared.concludes else Reporter()).run()


def usual_workers(models: Iterable[str] = ()) -> int:
    """Return how many processes this machine has processors and memory for, at least one.

    Each has the threads of ``OMP_NUM_THREADS``, else one, and holds one of ``models`` at a time,
    folders of pipelines or names. ``MPQBENCH_WORKERS`` says another number. Raises BenchError where
    a variable is no number of at least 1.
    """
    import psutil

    if own := _number("MPQBENCH_WORKERS"):
        return own
    weights = max((_bytes_of_weights(Path(model)) for model in models), default=0)
    room = psutil.virtual_memory().available // (_BYTES + _COPIES * weights)
    threads = _number("OMP_NUM_THREADS") or 1
    return max(1, min(_processors() // threads, int(room)))


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _number(variable: str) -> int:
    """Return the number that an environment variable says, 0 where it is not set."""
    text = os.environ.get(variable, "")
    if text and not (text.isascii() and text.isdigit() and int(text)):
        raise BenchError(f"{variable}={text}: use a whole number of at least 1")
    return int(text or 0)


def _bytes_of_weights(model: Path) -> int:
    return sum(path.stat().st_size for path in model.rglob("*.safetensors"))


def _models(prepared: Any) -> set[str]:
    return {job.model for _, jobs in prepared.batches() for job in jobs}


def _shards_left(prepared: Any) -> int:
    """Return how many shards the jobs have that are not done."""
    return sum(
        -(-job.protocol.images // session.resources.batch_size)
        for session, jobs in prepared.batches()
        for job in jobs
        if session.fresh or not look_up(job, session)[1]
    )
