"""Tables of an ablation: a row for every cell, and what each component is worth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..records.ablation import AblationResult, change_of, response_headers
from ..records.columns import ABLATION, OUTPUT_ERRORS, Column, adapt
from ..records.frame import seed_means
from ..records.schema import JobRecord
from ..records.selection import EVERYTHING, WIDTHS, Selection
from ..records.statistics import FEWEST_SEEDS
from .ablation_figures import effect_figures, sweep_figures
from .drawing import save_all
from .grid import flat
from .latex import COLUMN, fitting, latex_grid
from .looks import Style
from .notes import notes, table_notes
from .render import bullets, escaped, pipe_table, to_csv, to_markdown, write_texts
from .table import Block, Table, file_part, leaderboard

_PRINTED = ("fd", "output_mse", "bitops", "is", "sfd", "bytes")  # the most important first
_SECTIONS = {
    "contrast": "Levels, averaged over the other factors",
    "alone": "One level changed, all else at the base",
    "joint": "Two levels changed: beyond what each does by itself",
}


def write_ablation(
    result: AblationResult, folder: Path, selection: Selection = EVERYTHING
) -> list[Path]:
    """Write ``ablation.csv``, ``.md`` and ``.tex`` and the figures; return their paths.

    ``selection`` has the width and the caption of the LaTeX table.
    """
    table = cell_table(result.cells, result.batches)
    first, effects = table.blocks[0], result.effects
    title = f"{'Sweeps' if effects is None else 'Ablation'} of {result.method}"
    markdown = to_markdown(table, title)
    ticks = {name: result.base[name] for name, levels in result.levels.items() if len(levels) == 2}
    methods = tuple(record.method for record in result.records)
    style = Style(selection, methods, "text")
    if effects is None:
        figures = sweep_figures(result, first, style)
    else:
        markdown += f"\n{effect_sections(effects, first.extractor)}"
        figures = effect_figures(result, effects, first.extractor, style)
    texts = {
        "csv": to_csv(table),
        "md": markdown,
        "tex": ablation_latex(table, title, ticks, selection),
    }
    paths = write_texts(folder / "ablation", texts)
    return paths + save_all(figures, folder / "figures" / "ablation")


def cell_table(cells: pd.DataFrame, batches: Sequence[Sequence[JobRecord]]) -> Table:
    """Return a row for every cell and budget (means over the seeds done), a block for each batch.

    ``*_ci`` of scores of images are ``mean_half_width`` over seeds; ``*_std`` of output errors are
    standard deviations over seeds.
    """
    names = [name for name in cells.columns if name != "method"]
    factors = [Column(name, name, "key", view="brief") for name in names]
    columns = (*ABLATION[:2], *factors, *ABLATION[2:])
    return Table(tuple(_block(cells, batch, columns) for batch in batches), columns)


def ablation_latex(
    table: Table, title: str, ticks: Mapping[str, str], selection: Selection = EVERYTHING
) -> str:
    """Return one LaTeX table of all cells, without intervals, as rows are not independent.

    ``ticks`` names for a factor of two levels the one that is a tick mark. At the width of a column
    the scores and costs that do not fit are left out, the least important first; at that of the
    text it has all.
    """
    frame = pd.concat([block.frame for block in table.blocks], ignore_index=True)
    known = next((b.extractor for b in table.blocks if b.extractor), None)
    columns = {column.name: column for column in adapt(table.columns, frame, known)}
    keys = [c for c in columns.values() if c.role == "key" and c.view == "brief"]
    numbers = [columns[name] for name in _PRINTED if frame[name].notna().any()]
    shown = selection.model_copy(update={"intervals": False})
    grid = flat(table.blocks, [*keys, *(numbers or [columns["fd"]])], shown)
    if selection.inches <= WIDTHS["column"]:
        grid = fitting(grid, COLUMN, len(keys) + 1, ticks)
    return latex_grid(grid, title, shown, "ablation", ticks)


def effect_sections(effects: pd.DataFrame, extractor: str | None) -> str:
    """Return effects in Markdown: a section for every budget and response, then notes."""
    if effects.empty:
        return "No job is done: there is nothing to compare.\n"
    parts: list[str] = []
    log = effects["scale"].iloc[0] == "log"
    headers = response_headers(extractor)
    for (budget, response), rows in effects.groupby(["budget", "response"], sort=False):
        parts.append(f"## Effects on {headers[str(response)]} at {budget}")
        for kind, title in _SECTIONS.items():
            part = rows[rows["kind"] == kind]
            if len(part):
                parts += [f"### {title}", _effect_rows(part, log)]
    return "\n\n".join([*parts, bullets(effect_notes(effects))]) + "\n"


def effect_notes(effects: pd.DataFrame) -> tuple[str, ...]:
    """Return what a reader must know about effects, in sentences."""
    kinds = {str(r): set(rows["interval"]) - {""} for r, rows in effects.groupby("response")}
    return notes(
        "effects",
        log=effects["scale"].iloc[0] == "log",
        over_images=any("images" in found for found in kinds.values()),
        seeds=int(effects["seeds"].max()),
        fewest=FEWEST_SEEDS,
        plain=[f"the {header}" for name, header in OUTPUT_ERRORS.items() if name in kinds],
        has_distance="fd" in kinds,
    )


def shown_effect(value: float, low: float, high: float, log: bool) -> str:
    """Return ``x1.80 [1.62, 2.01]`` or ``+0.20 [+0.10, +0.30]``; empty without a value."""
    if math.isnan(value):
        return ""
    form = ".3g" if log else "+.3g"
    interval = "" if math.isnan(low) else f" [{low:{form}}, {high:{form}}]"
    return f"{'x' if log else ''}{value:{form}}{interval}"


def _block(cells: pd.DataFrame, records: Sequence[JobRecord], columns: tuple[Column, ...]) -> Block:
    boards = leaderboard(records).blocks
    scores, costs = ([c.name for c in ABLATION if c.role == role] for role in ("score", "cost"))
    means = pd.concat([seed_means(board.frame, scores, costs) for board in boards])
    names = [*(column.name for column in ABLATION), "protocol"]
    factors = [name for name in cells.columns if name != "method"]
    full = means.loc[means["is_full"], names].assign(**dict.fromkeys(factors, ""))
    quantized = means[~means["is_full"]].assign(order=lambda frame: -frame["bits"])
    budgets = quantized.groupby(["order", "budget"])
    parts = [cells.merge(rows[names], on="method") for _, rows in budgets]
    frame = pd.concat([full, *parts], ignore_index=True)
    done = pd.concat([board.done for board in boards])
    first = next((board for board in boards if len(board.done)), boards[0])
    return replace(
        first, columns=adapt(columns, frame, first.extractor), frame=frame,
        notes=table_notes("ablation", done, first.extractor), name=file_part(first.model),
    )  # fmt: skip


def _effect_rows(part: pd.DataFrame, log: bool) -> str:
    shown = part.rename(columns={"interval": "interval over", "reason": "note"})
    rows = part.to_dict("records")
    shown["change"] = [change_of(row) for row in rows]
    shown["effect"] = [shown_effect(row["effect"], row["low"], row["high"], log) for row in rows]
    table = shown[["change", "effect", "interval over", "seeds", "note"]].astype(str).map(escaped)
    return pipe_table(table, ["change", "interval over", "note"])
