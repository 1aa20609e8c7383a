"""Table and figure of the study of realizations."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..records.columns import frechet_names
from ..records.frame import frame_csv
from ..records.schema import JobRecord
from ..records.variance import COUNTS, DRAWS
from . import drawing
from .drawing import Picture
from .latex_text import escape
from .looks import COLOURS, Style
from .notes import notes
from .render import bullets, escaped, pipe_table, write_texts

_KEYS = ["method", "budget", "format"]


def write_realizations(
    table: pd.DataFrame, records: Sequence[JobRecord], folder: Path
) -> list[Path]:
    """Write ``realizations.csv``, ``.md`` and ``.tex`` and the figure; return their paths."""
    done = [record for record in records if record.status == "done"]
    extractor = done[0].extractor
    fd = frechet_names(extractor)[0]
    rows = shown(table, fd)
    told = notes(
        "realizations", images=done[0].n_images, extractor=extractor, fd=fd, draws=DRAWS,
    )  # fmt: skip
    cells = pipe_table(rows.map(escaped), _KEYS)
    caption = " ".join(
        (f"{fd}: standard deviations between realizations and over images.", told[0])
    )
    latex = rows.map(escape).rename(columns=escape).style.hide(axis="index").to_latex(
        hrules=True, position="t", position_float="centering", caption=escape(caption),
        column_format="lll" + "r" * (len(rows.columns) - 3), environment="table*",
    )  # fmt: skip
    texts = {
        "csv": frame_csv(table),
        "md": f"# Realizations\n\n{cells}\n\n{bullets(told)}\n",
        "tex": f"% \\usepackage{{booktabs}}\n{latex}",
    }
    paths = write_texts(folder / "realizations", texts)
    figure = deviations(table, fd)
    return paths + drawing.save(figure, folder / "figures" / "realizations")


def shown(table: pd.DataFrame, fd: str) -> pd.DataFrame:
    """Return the cells of the table as text."""
    cells = table[_KEYS].copy()
    cells["R"] = table["realizations"].map(str)
    cells[fd] = table["fd"].map("{:.3f}".format)
    cells["sd between"] = table["sd_between"].map("{:.4f}".format)
    cells["sd over images"] = table["sd_images"].map("{:.4f}".format)
    for count in COUNTS:
        half = table[f"half_{count}"].astype("float64")
        cells[f"± at R = {count}"] = half.map("{:.3f}".format).where(half.notna(), "")
    for count in COUNTS:
        cells[f"covered at R = {count}"] = table[f"covered_{count}"].map("{:.1%}".format)
    return cells


def deviations(table: pd.DataFrame, fd: str) -> Picture:
    """Draw both standard deviations of every method, a panel for each budget."""
    budgets = list(table["budget"].unique())
    heights = [len(table[table["budget"] == budget]) for budget in budgets]
    title = f"Standard deviations of {fd}"
    with drawing.canvas(Style(), 0.5 + 0.22 * sum(heights), title) as figure:
        panels = np.ravel(figure.subplots(len(budgets), 1, sharex=True, height_ratios=heights))
        for axes, budget in zip(panels, budgets, strict=True):
            rows = table[table["budget"] == budget]
            places = np.arange(len(rows))
            for at, (name, label) in enumerate(
                (("sd_between", "between realizations"), ("sd_images", "over images"))
            ):
                axes.barh(
                    places - 0.19 + 0.38 * at, rows[name], 0.36, label=label,
                    color=COLOURS[at],
                )  # fmt: skip
            axes.set_yticks(places, list(rows["method"]))
            axes.invert_yaxis()
            axes.set_ylabel(budget)
            axes.grid(axis="y", visible=False)
        panels[-1].set_xlabel(f"standard deviation of {fd}")
        drawing.explain(figure, drawing.handles_of(panels[0]))
    return figure
