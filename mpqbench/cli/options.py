"""Options that several subcommands share, and functions that begin and end every study.

``study_options`` adds the options of a study to a command, which receives them in ``**shared``;
``overrides``, ``open_session`` and ``finish`` turn them into a suite, a session and an exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..job.resources import Session

_Command = TypeVar("_Command", bound=Callable[..., Any])

plugins_option = click.option(
    "--plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Python file or folder with a PLUGINS table; repeatable.",
)

_STUDY_OPTIONS = (
    click.option("--model", metavar="NAME", help="Model instead of the study's."),
    click.option("--images", type=click.IntRange(min=1), help="Images per job."),
    click.option("--calibration", type=click.IntRange(min=1), help="Calibration inputs."),
    click.option("--features", metavar="NAME", help="Feature network instead of the study's."),
    click.option("--reference", metavar="REF", help="Reference statistics or images."),
    click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="As in run."),
    click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
                 help="Folder instead of runs/STUDY."),
    plugins_option,
)  # fmt: skip


def study_options(command: _Command) -> _Command:
    """Add the options that every study has to ``command``."""
    for option in reversed(_STUDY_OPTIONS):
        command = option(command)
    return command


def checked_budgets(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the values of ``--budget``. Raises BenchError with the option for a wrong one."""
    from ..core.errors import BenchError
    from ..core.precision import Budget

    for text in texts:
        try:
            Budget.parse(text)
        except BenchError as error:
            raise BenchError(f"--budget: {error}") from None
    return tuple(texts)


def overrides(given: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a suite that were set on the command line, and no others.

    ``given`` has the keys that the subcommand itself read, empty where they were not set;
    ``shared`` has the values of ``study_options``.
    """
    names = ("images", "calibration", "features", "reference")
    protocol = {name: shared[name] for name in names if shared[name] is not None}
    models = (shared["model"],) if shared["model"] else ()
    every = {**given, "models": models, "protocol": protocol}
    return {key: value for key, value in every.items() if value}


def open_session(name: str, shared: Mapping[str, Any]) -> Session:
    """Open the plugins, the device and the folder ``runs/NAME`` or ``--out`` of a study's jobs.

    Raises BenchError for a plugin file that cannot be used and a device that this machine lacks.
    """
    from ..core.memory import keep_freed_memory
    from ..core.progress import reporter
    from ..core.registry import discover
    from ..job.resources import Resources, Session
    from ..metrics.features import usable_device
    from ..records.store import RecordStore

    keep_freed_memory()
    store = RecordStore(shared["out"] or Path("runs") / name)
    store.check_writable()
    resources = Resources(
        discover(shared["plugins"]),
        shared["device"],
        folder=store.folder / "cache",
        reporter=reporter(),
    )
    usable_device(resources.device)
    return Session(resources, store)


def finish(paths: Iterable[Path], failed: bool) -> None:
    """Print the files that were written; exit with code 1 where a job failed, as its row says."""
    for path in paths:
        click.echo(path)
    if failed:
        sys.exit(1)
