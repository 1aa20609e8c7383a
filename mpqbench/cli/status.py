"""``mpqbench status``: how far a run is."""

import json
from pathlib import Path
from typing import Any

import click

from ..core.terminal import echo


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print all jobs as JSON, for programs.")
def status(run_dir: Path, as_json: bool) -> None:
    """Show which jobs of RUN are done, running, failed and left, and estimate the time left.

    The jobs are those of the command that was last started on the folder. A job is running where a
    live process holds its claim; one on another machine is taken to live. Of its samples the
    shards are told, and the processes that make one for it. The estimate is made from the seconds
    of the jobs that are done. Nothing is changed.

    \b
    Examples:
      mpqbench status runs/quick
      mpqbench status runs/quick --json
    """
    from ..api.results import status as status_of

    found = status_of(run_dir)
    if as_json:
        echo(json.dumps(found.as_json(), indent=1))
        return
    counts = {"done": 0, "running": 0, "left": 0} | found.counts
    told = ", ".join(f"{number} {state}" for state, number in counts.items())
    echo(f"{run_dir}: {len(found.jobs)} jobs: {told}; {_left(found)}")
    for job in (job for job in found.jobs if job.state != "done"):
        where = f"  {job.by}" if job.by is not None else ""
        if job.shards is not None:
            where += f"  {job.shards[0]} of {job.shards[1]} shards"
        where += "".join(f", one by process {h.pid} on {h.host}" for h in job.helpers)
        reason = f"  {job.reason}" if job.reason else ""
        echo(f"  {job.state:10s} {job.planned.job}{where}{reason}")


def _left(found: Any) -> str:
    seconds = found.seconds_left
    if seconds is None:
        return "no job is done, so the time left is not known"
    if not seconds:
        return "nothing is left"
    number = found.processes
    by = f"the {number} processes that run" if number > 1 else "one process"
    return f"about {_duration(seconds)} left with {by}"


def _duration(seconds: float) -> str:
    """Return seconds in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
