"""``mpqbench report``: print the leaderboard of a run and write its files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..core.errors import BenchError
from ..core.registry import discover
from ..core.terminal import console, echo
from . import options

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run_dirs", metavar="RUN...", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--site", metavar="DIR", type=_FOLDER,
              help="Write a static page with the leaderboards of every RUN, and of folders in it, "
              "into DIR.")  # fmt: skip
@click.option("--out", metavar="DIR", type=_FOLDER,
              help="Folder for the files.  [default: the first RUN]")  # fmt: skip
@click.option("--merge", "merges", multiple=True, metavar="JOB:NODE",
              help="Also draw this merge of a tree-structured search; repeatable.")  # fmt: skip
@click.option("--scan", "scans", multiple=True, metavar="SETTING",
              help="Also draw what this number of the recipe does, e.g. environment.noise; "
              "repeatable.")  # fmt: skip
@options.plugins
def report(
    run_dirs: tuple[Path, ...], out: Path | None, site: Path | None, **asked: Any
) -> None:  # fmt: skip
    """Print the leaderboard of one or several runs; write its tables and figures.

    Several folders make one leaderboard. The folder of an ablation gets its tables, too.

    \b
    Examples:
      mpqbench report runs/quick
      mpqbench report runs/quick runs/mine --out compared
      mpqbench report runs/mine --scan searcher.keep
      mpqbench report leaderboards --site site
    """
    from ..lab.ablation.design import load

    plugins = asked.pop("plugins")
    if site is not None:
        if out or any(asked.values()):
            raise BenchError("--site writes a page of its own: give no other option but --plugins")
        _write_site(run_dirs, site)
    elif len(run_dirs) == 1 and (design := load(run_dirs[0])) is not None:
        _show_ablation(design, run_dirs[0], out, plugins, asked)
    else:
        show(run_dirs, out, **asked)


def _write_site(run_dirs: Sequence[Path], site: Path) -> None:
    from ..report.site.build import write_site

    for path in write_site(run_dirs, site):
        echo(path)


def _show_ablation(
    design: Any, run_dir: Path, out: Path | None, plugins: Sequence[Path],
    asked: dict[str, Any],
) -> None:  # fmt: skip
    from ..lab.ablation.run import read_ablation, write_effects
    from ..report.ablation import write_ablation
    from ..report.write import write_report

    result, stores = read_ablation(design, run_dir, discover(plugins))
    # Each value of a field of the protocol has a separate folder of records.
    apart = [store.folder for store in stores if store.folder != run_dir]
    if apart and any(asked.values()):
        text = "--merge and --scan need one folder with records"
        raise BenchError(f"{text}: give {apart[0]}, for example")
    folder = out or run_dir
    paths = [*write_effects(result, folder), *write_ablation(result, folder)]
    for each in apart:
        paths += write_report([each], None if out is None else out / each.name)
    if len(apart) < len(stores):
        show([run_dir], out, **asked)
    options.show_tables(paths)


def show(run_dirs: Sequence[Path], out: Path | None = None, **asked: Any) -> None:
    """Write the report of ``run_dirs`` into ``out`` (default: the first of them) and print it.

    ``asked`` (``merges`` and ``scans``) and errors are those of ``write_tables``.
    """
    from ..records.runs import read_runs
    from ..report.render import print_table
    from ..report.write import tables_of_runs, write_tables

    runs = read_runs(run_dirs)
    tables = tables_of_runs(runs)
    paths = write_tables(tables, runs, out or runs.folders[0], **asked)
    # The tables need about 110 columns; a log file or a pipe has no width.
    screen = console(width=120)
    for table in tables.values():
        print_table(table, screen)
    for path in paths:
        echo(path)
