"""``mpqbench leaderboard``: render, check and extend folders of records that are published."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import BenchError
from ..core.files import write_atomic
from ..core.registry import discover
from ..core.terminal import echo
from . import options

if TYPE_CHECKING:
    from ..lab.leaderboard.check import Finding

_NAMES = click.argument("names", metavar="[NAME...]", nargs=-1)
_FOLDER = click.option(
    "--folder", metavar="DIR", default="leaderboards", show_default=True,
    type=click.Path(path_type=Path, file_okay=False), help="Folder of the leaderboards.",
)  # fmt: skip


@click.group()
def leaderboard() -> None:
    """Render, check and extend leaderboards: folders of records with pages made from them."""


@leaderboard.command()
@_NAMES
@_FOLDER
@click.option("--fill", "filled", multiple=True, metavar="FILE",
              type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Also make the marked results in this Markdown file anew; "
              "repeatable.")  # fmt: skip
def build(names: Sequence[str], folder: Path, filled: Sequence[Path]) -> None:
    """Render tables, figures, page and manifest of each leaderboard NAME (default: all).

    \b
    Examples:
      mpqbench leaderboard build
      mpqbench leaderboard build quick --fill README.md
    """
    from ..records.board import boards_in
    from ..report.boards import build_board, write_index
    from ..report.pages import fill

    for board in boards_in(folder, names):
        for name, what in build_board(board).items():
            echo(f"{board.name}: {name} {what} since the last build")
        echo(f"{board.name}: built")
    echo(write_index(folder))
    for path, text in {path: fill(path, folder) for path in filled}.items():
        write_atomic(path, text.encode())
        echo(path)


@leaderboard.command()
@_NAMES
@_FOLDER
@options.device
@options.plugins
def check(names: Sequence[str], folder: Path, device: str, plugins: Sequence[Path]) -> None:
    """Check each leaderboard NAME (default: all): nothing is written.

    A line for each finding: rendered files that are stale, files that are not those of the
    manifest, altered records, and costs, budgets, metrics and fingerprints that are other than
    recomputed. Notes say what could not be recomputed. The exit code is 1 with findings.
    """
    from ..job.resources import Resources
    from ..lab.leaderboard.check import summary
    from ..metrics.features import usable_device
    from ..records.board import boards_in
    from ..report.boards import index_is_stale

    resources = Resources(discover(tuple(plugins)), str(usable_device(device)))
    count = 0
    boards = boards_in(folder, names)
    for board in boards:
        found = _findings(board, resources)
        faults = [each for each in found if not each.is_note]
        for fault in faults:
            echo(": ".join(filter(None, (board.name, fault.place, fault.text))))
        for line in summary(each for each in found if each.is_note):
            echo(f"{board.name}: note: {line}")
        count += len(faults)
    if not names and index_is_stale(folder):
        echo(f"{folder / 'README.md'}: stale: run `mpqbench leaderboard build`")
        count += 1
    echo(f"{len(boards)} leaderboards checked: {count or 'no'} finding{'' if count == 1 else 's'}")
    sys.exit(1 if count else 0)


def _findings(board: Path, resources: Any) -> "list[Finding]":
    from ..lab.leaderboard.check import Finding, check_board
    from ..records.board import is_quoted
    from ..report.boards import stale

    found = [] if is_quoted(board) else list(check_board(board, resources))
    try:
        late = stale(board)
    except BenchError as error:
        return [*found, Finding("", f"cannot be rendered: {error}")]
    text = "is stale: run `mpqbench leaderboard build`"
    return [*found, *(Finding(path.name, text) for path in late)]


@leaderboard.command()
@click.argument("name", metavar="NAME")
@click.argument("paths", metavar="RECORDS...", nargs=-1, required=True,
                type=click.Path(path_type=Path, exists=True))  # fmt: skip
@click.option("--as", "contributor", required=True, metavar="TEXT",
              help="Name of the contributor, kept beside the records.")  # fmt: skip
@_FOLDER
@options.plugins
def submit(
    name: str, paths: Sequence[Path], contributor: str, folder: Path, plugins: Sequence[Path]
) -> None:
    """Add RECORDS, a run or files in its records/, to the leaderboard NAME.

    Everything is checked first, and costs are recomputed; a record that is there already is
    refused. Nothing is added unless all can be.

    \b
    Examples:
      mpqbench leaderboard submit quick runs/mine/records/*mine* --as "A. Author"
    """
    from ..job.resources import Resources
    from ..lab.leaderboard.submit import submit as add
    from ..records.board import boards_in, is_quoted

    (board,) = boards_in(folder, [name])
    if is_quoted(board):
        raise BenchError(f"{board} has quoted results, not records: give another leaderboard")
    added = add(board, paths, contributor, Resources(discover(tuple(plugins))))
    for job in added:
        echo(f"{name}: added {job}")
    echo(f"run `mpqbench leaderboard build {name}` to render it anew")
