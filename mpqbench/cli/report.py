"""``mpqbench report``: print the leaderboard of a run and write its files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..core.errors import BenchError
from ..core.registry import discover
from ..core.terminal import console, echo
from . import options
from .selection import selecting, taken

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run_dirs", metavar="RUN...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--spec", metavar="FILE.yaml", type=click.Path(path_type=Path, dir_okay=False),
              help="What to show: 'runs', the options below as keys, and 'tables', each written "
              "into NAME.tex, .csv and .md.")  # fmt: skip
@click.option("--paper", metavar="DIR", type=_FOLDER,
              help="Write all tables and figures into DIR, with a main.tex that shows them."
              )  # fmt: skip
@click.option("--latex", is_flag=True, help="Print the tables as LaTeX; write nothing.")
@selecting
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
    run_dirs: tuple[Path, ...], out: Path | None, site: Path | None, spec: Path | None,
    latex: bool, paper: Path | None, **asked: Any,
) -> None:  # fmt: skip
    """Print the leaderboard of one or several runs; write its tables and figures.

    Several folders make one leaderboard. The folder of an ablation gets its tables, too. With
    options that select, files are written only with --out.

    \b
    Examples:
      mpqbench report runs/quick
      mpqbench report runs/quick runs/mine --out compared
      mpqbench report runs/mine --scan searcher.keep
      mpqbench report leaderboards --site site
      mpqbench report runs/quick --columns fd,delta,bitops --pivot budget --latex
      mpqbench report --spec paper.yaml --out tables
      mpqbench report runs/quick runs/mine --highlight mine --paper paper
    """
    from ..lab.ablation.design import load

    plugins, keys = asked.pop("plugins"), taken(asked)
    if not run_dirs and spec is None:
        raise BenchError("give the folder of a run, or --spec with the file of a paper")
    if paper is not None:
        if site or latex or out or any(asked.values()):
            raise BenchError("--paper takes RUN, --spec and options that select alone")
        _write_paper(spec, run_dirs, paper, keys)
    elif site is not None:
        if out or keys or spec or latex or any(asked.values()):
            raise BenchError("--site writes a page of its own: give no other option but --plugins")
        _write_site(run_dirs, site)
    elif spec is not None:
        _show_paper(spec, run_dirs, out, latex, (keys, asked))
    elif len(run_dirs) == 1 and (design := load(run_dirs[0])) is not None:
        if latex or keys.keys() - {"width", "caption"}:
            raise BenchError("the tables of an ablation take --width and --caption alone")
        _show_ablation(design, run_dirs[0], out, plugins, (keys, asked))
    else:
        show(run_dirs, out, _selection(keys), latex, **asked)


def _selection(keys: dict[str, Any]) -> Any:
    from ..core.settings import validate
    from ..records.selection import Selection

    return validate(Selection, keys, "options")


def _write_site(run_dirs: Sequence[Path], site: Path) -> None:
    from ..report.site.build import write_site

    for path in write_site(run_dirs, site):
        echo(path)


def _write_paper(
    spec: Path | None, run_dirs: Sequence[Path], folder: Path, keys: dict[str, Any]
) -> None:
    from ..records.paper_file import read_paper
    from ..records.runs import read_runs
    from ..report.paper import write_paper

    paper = read_paper(spec, keys) if spec else None
    folders = run_dirs or (paper.runs if paper else ())
    if not folders:
        raise BenchError(f"{spec} has no runs: write 'runs: [folder, ...]', or give RUN")
    selection = paper.selection if paper else _selection(keys)
    for path in write_paper(read_runs(folders), selection, folder, paper):
        echo(path)


def _show_ablation(
    design: Any, run_dir: Path, out: Path | None, plugins: Sequence[Path],
    given: tuple[dict[str, Any], dict[str, Any]],
) -> None:  # fmt: skip
    from ..lab.ablation.run import read_ablation, write_effects
    from ..report.ablation import write_ablation
    from ..report.write import write_report

    keys, asked = given
    result, stores = read_ablation(design, run_dir, discover(plugins))
    # Each value of a field of the protocol has a separate folder of records.
    apart = [store.folder for store in stores if store.folder != run_dir]
    if apart and any(asked.values()):
        text = "--merge and --scan need one folder with records"
        raise BenchError(f"{text}: give {apart[0]}, for example")
    folder = out or run_dir
    paths = [*write_effects(result, folder), *write_ablation(result, folder, _selection(keys))]
    for each in apart:
        paths += write_report([each], None if out is None else out / each.name)
    if len(apart) < len(stores):
        show([run_dir], out, **asked)
    options.show_tables(paths)


def _show_paper(
    spec: Path, run_dirs: Sequence[Path], out: Path | None, latex: bool,
    given: tuple[dict[str, Any], dict[str, Any]],
) -> None:  # fmt: skip
    """Write the tables of the file of a paper beside it, or into ``out``; or print their LaTeX."""
    from ..records.paper_file import read_paper
    from ..records.runs import read_runs
    from ..report.render import write_texts
    from ..report.write import paper_tables

    keys, asked = given
    paper = read_paper(spec, keys)
    folders = run_dirs or paper.runs
    if not folders:
        raise BenchError(f"{spec} has no runs: write 'runs: [folder, ...]', or give RUN")
    if not paper.tables:
        show(folders, out, paper.selection, latex, **asked)
        return
    if any(asked.values()):
        raise BenchError("--merge and --scan draw figures of a report: leave out --spec")
    texts = paper_tables(paper, read_runs(folders))
    if latex:
        echo("\n".join(each["tex"] for each in texts.values()).rstrip("\n"))
        return
    for name, each in texts.items():
        for path in write_texts((out or spec.parent) / name, each):
            echo(path)


def show(
    run_dirs: Sequence[Path], out: Path | None = None, selection: Any = None,
    latex: bool = False, **asked: Any,
) -> None:  # fmt: skip
    """Write the report of ``run_dirs`` into ``out`` (default: the first of them) and print it.

    With a ``selection`` that leaves something out nothing is written without ``out``, so that the
    files of a run stay whole. ``latex`` prints LaTeX alone, of means where there are several seeds.
    ``asked`` (``merges`` and ``scans``) and errors are those of ``write_tables``.
    """
    from ..records.runs import read_runs
    from ..records.selection import EVERYTHING
    from ..report.latex import to_latex
    from ..report.render import print_table
    from ..report.write import main_table, tables_of_runs, title_of, write_tables

    selection = selection or EVERYTHING
    runs = read_runs(run_dirs)
    tables = tables_of_runs(runs, selection)
    if latex:
        stem = main_table(tables, selection)
        echo(to_latex(tables[stem], title_of(stem, runs), selection, stem).rstrip("\n"))
        return
    folder = out or (runs.folders[0] if selection == EVERYTHING else None)
    paths = write_tables(tables, runs, folder, selection=selection, **asked) if folder else []
    # The tables need about 110 columns; a log file or a pipe has no width.
    screen = console(width=120)
    for table in tables.values():
        print_table(table, screen, selection)
    for path in paths:
        echo(path)
    if folder is None:
        echo("a selection is written only with --out", err=True)
