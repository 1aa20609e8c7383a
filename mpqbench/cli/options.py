"""Options that several subcommands share, and functions that begin and end their work."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ..core.errors import BenchError
from ..core.precision import Budget
from ..core.suite import Job

_Command = TypeVar("_Command", bound=Callable[..., Any])

plugins = click.option(
    "--plugins", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
    help="Python file or folder with a PLUGINS table; repeatable.",
)  # fmt: skip
device = click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE", help="cpu, cuda, cuda:1, ..."
)
reference = click.option("--reference", metavar="REF", help="Reference statistics or images.")
dry_run = click.option(
    "-n", "--dry-run", is_flag=True, help="Print what would be run, and its jobs; run nothing."
)


class _BudgetText(click.ParamType):
    name = "budget"

    def convert(self, value: str, param: object, ctx: object) -> str:
        try:
            Budget.parse(value)
        except BenchError as error:
            raise BenchError(f"--budget: {error}") from None
        return value


BUDGET = _BudgetText()


def budgets(usual: str) -> Callable[[_Command], _Command]:
    """Return the option of the budgets, which are ``usual`` without the option."""
    text = f"Budget instead of {usual}; repeatable."
    return click.option(
        "--budget", "budgets", multiple=True, type=BUDGET, metavar="W4A4", help=text
    )


def seeds(usual: str) -> Callable[[_Command], _Command]:
    """Return the option of the seeds, which are ``usual`` without the option."""
    text = f"Seeds instead of {usual}, separated by commas."
    return click.option("--seeds", metavar="0,1,2", callback=_seeds, help=text)


def _seeds(ctx: object, param: object, text: str | None) -> tuple[int, ...]:
    try:
        return tuple(map(int, text.split(","))) if text is not None else ()
    except ValueError:
        raise BenchError(
            f"--seeds '{text}' must be whole numbers with commas, such as 0,1,2"
        ) from None


def out(name: str) -> Callable[[_Command], _Command]:
    """Return the option of the folder of results, which is ``runs/NAME`` without the option."""
    text = f"Folder instead of runs/{name}."
    return click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help=text)


def of_study(command: _Command) -> _Command:
    """Add the options that every study has to ``command``, which gets them in ``**shared``."""
    every = (
        click.option("--model", metavar="NAME", help="Model instead of the study's."),
        click.option("--images", type=click.IntRange(min=1), help="Images per job."),
        click.option("--calibration", type=click.IntRange(min=1), help="Calibration inputs."),
        click.option("--features", metavar="NAME", help="Feature network instead of the study's."),
        reference, device, out("STUDY"), plugins,
    )  # fmt: skip
    for option in reversed(every):
        command = option(command)
    return command


def overrides(given: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a suite that are set in ``given`` or by ``of_study`` (``shared``)."""
    names = ("images", "calibration", "features", "reference")
    protocol = {name: shared[name] for name in names if shared[name] is not None}
    models = (shared["model"],) if shared["model"] else ()
    every = {**given, "models": models, "protocol": protocol}
    return {key: value for key, value in every.items() if value}


def open_study(name: str, shared: Mapping[str, Any]) -> Any:
    """Open what a study runs with. Raises BenchError for a device that this machine lacks."""
    from ..api import open_session
    from ..metrics.features import usable_device

    session = open_session(name, **{key: shared[key] for key in ("plugins", "out", "device")})
    usable_device(session.resources.device)
    return session


def show_jobs(jobs: Sequence[Job], session: Any) -> None:
    """Print the folder of results and every job with its fingerprint and state."""
    from ..lab.suite import look_up

    click.echo(f"{len(jobs)} jobs into {session.store.folder}:")
    for job in jobs:
        fingerprint, done = look_up(job, session)
        click.echo(f"  {job.id:60s} {fingerprint}  {'done before' if done else 'to run'}")


def finish(paths: Iterable[Path], failed: bool) -> None:
    """Print the files that were written; exit with code 1 where a job failed, as its row says."""
    for path in paths:
        click.echo(path)
    if failed:
        sys.exit(1)
