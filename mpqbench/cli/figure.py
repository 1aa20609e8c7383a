"""``mpqbench figure``: draw one kind of figure, as PDF and PNG."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..core.errors import BenchError, unknown
from ..core.terminal import echo
from . import completion, options
from .selection import selecting_figures, taken

RANGES = "ranges"
_SUFFIXES = (".pdf", ".png")


@click.command()
@click.argument("name", required=False)
@click.argument("run_dirs", metavar="RUN...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--list", "listed", is_flag=True, help="Print the names of all figures.")
@selecting_figures
@click.option("--spec", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="A paper.yaml with runs, labels, colours and widths.")  # fmt: skip
@click.option("--out", metavar="FILE-or-DIR", type=click.Path(path_type=Path),
              help="Folder, or name of the files.  [default: first RUN/figures]")  # fmt: skip
@click.option("--model", metavar="NAME", shell_complete=completion.models,
              help="Of 'ranges': the model, which needs no RUN.")  # fmt: skip
@click.option("--layer", metavar="NAME", help="Of 'ranges': a layer or group.  [default: the MLP's "
              "second layer in the middle block]")  # fmt: skip
@options.device
def figure(
    name: str | None, run_dirs: tuple[Path, ...], listed: bool, spec: Path | None,
    out: Path | None, **asked: Any,
) -> None:  # fmt: skip
    """Draw the figures called NAME of runs; write each as PDF and PNG and print its caption.

    \b
    Examples:
      mpqbench figure --list
      mpqbench figure tradeoff runs/quick runs/mine --highlight mine
      mpqbench figure tradeoff runs/mine --cost bytes --width text --out paper/bytes.pdf
      mpqbench figure allocations --spec paper.yaml
      mpqbench figure ranges --model fashion-dit --layer blocks.3.mlp.down
    """
    from ..report.figures import FIGURES

    if listed:
        for each, kind in FIGURES.items():
            echo(f"{each:12s} {kind.text}")
        echo(f"{RANGES:12s} Ranges of a layer's inputs over time steps and channels (--model).")
        return
    if name is None:
        raise BenchError("give the name of a figure: 'mpqbench figure --list' prints all")
    if name not in (*FIGURES, RANGES):
        raise unknown("figure", name, [*FIGURES, RANGES])
    of_ranges = {key: asked.pop(key) for key in ("model", "layer", "device")}
    runs, selection = _asked(name, run_dirs, spec, taken(asked))
    if name == RANGES:
        if run_dirs or not of_ranges["model"]:
            raise BenchError("'ranges' is drawn from a model: give --model and no RUN")
        drawn: Iterable[Any] = [_ranges(selection, **of_ranges)]
        folder = Path("figures")
    else:
        if of_ranges["model"] or of_ranges["layer"]:
            raise BenchError("--model and --layer are of 'ranges' alone; --models selects models")
        drawn, folder = _drawn(name, runs, selection), runs[0] / "figures"
    _write(name, list(drawn), out or folder)


def _asked(
    name: str, run_dirs: tuple[Path, ...], spec: Path | None, given: Mapping[str, Any]
) -> tuple[tuple[Path, ...], Any]:
    """Return the folders of runs and the selection of a figure."""
    from ..core.settings import validate
    from ..records.paper_file import read_paper
    from ..records.selection import Selection

    if spec is None:
        if not run_dirs and name != RANGES:
            raise BenchError(f"give the folder of a run: mpqbench figure {name} RUN")
        return run_dirs, validate(Selection, dict(given), "options")
    paper = read_paper(spec, given)
    folders = run_dirs or paper.runs
    if not folders and name != RANGES:
        raise BenchError(f"give the folder of a run, or 'runs' in {spec}")
    return folders, paper.figures.get(name, paper.selection)


def _drawn(name: str, folders: tuple[Path, ...], selection: Any) -> Iterable[Any]:
    from ..report.figures import draw, kind_of, runs_for
    from ..report.table import Table
    from ..report.write import tables_of_runs

    runs = runs_for(name, folders)
    table = tables_of_runs(runs, selection)["leaderboard"] if runs.records else Table((), ())
    found = list(draw(name, table, runs, selection))
    if not found:
        shown = ", ".join(map(str, folders))
        raise BenchError(f"{shown} allow no figure '{name}': it needs {kind_of(name).needs}")
    return found


def _ranges(selection: Any, model: str, layer: str | None, device: str) -> tuple[str, Any]:
    """Draw the ranges of the inputs of a model's layer."""
    from ..dit.configs import check_model

    check_model(model)  # before anything heavy is imported

    from ..api.models import layer_inputs
    from ..report.looks import Style
    from ..report.ranges import ranges

    layer, inputs = layer_inputs(model, layer, device)
    picture = ranges(inputs, f"{layer} of {model}", Style(selection))
    return f"ranges-{Path(model).name}-{layer}", picture


def _write(name: str, drawn: Sequence[Any], out: Path) -> None:
    """Write figures into a folder, or a single one as the file ``out``; print their captions."""
    from ..report.drawing import save

    if out.suffix in _SUFFIXES:
        if len(drawn) > 1:
            raise BenchError(f"there are {len(drawn)} figures '{name}': give a folder as --out, "
                             "or select one with --models, --budgets or --cost")  # fmt: skip
        places = [out.with_suffix("")]
    else:
        places = [out / stem for stem, _ in drawn]
    for place, (_, picture) in zip(places, drawn, strict=True):
        for path in save(picture, place):
            echo(path)
        echo(f"  {picture.caption}")
