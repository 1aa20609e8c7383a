"""``mpqbench report``: the leaderboard of a run, on the screen and in files."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run_dir", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files.  [default: RUN_DIR]",
)
def report(run_dir: Path, out: Path | None) -> None:
    """Print the leaderboard of a run and write its tables and figures.

    \b
    Example:
      mpqbench report runs/quick
    """
    show(run_dir, out)


def show(run_dir: Path, out: Path | None = None) -> None:
    """Write the report of ``run_dir`` into ``out`` (default: ``run_dir``) and print it.

    Raises BenchError where the run has no records, or an unreadable one.
    """
    from rich.console import Console

    from ..records.store import RecordStore
    from ..report.render import print_table
    from ..report.summary import has_several_seeds, summary
    from ..report.table import leaderboard
    from ..report.write import write_report

    paths = write_report(run_dir, out)
    records = RecordStore(run_dir).read_all()
    # The tables need about 110 columns; a log file or a pipe has no width of its own.
    console = Console()
    console.width = max(console.width, 120)
    print_table(leaderboard(records), console)
    if has_several_seeds(records):
        print_table(summary(records), console)
    for path in paths:
        click.echo(path)
