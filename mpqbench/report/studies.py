"""Tables and figures of the studies of searchers and of proxies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..records.columns import RIVALS, SEARCHERS, adapt, frechet_names
from ..records.frame import CONDITION, paired, seed_means
from ..records.schema import JobRecord
from . import drawing
from .notes import notes, table_notes
from .render import bullets, pipe_table, write_table, write_texts
from .table import Table, leaderboard

PARTS = ("all", "better half")


def write_searchers(
    records: Iterable[JobRecord], regrets: Sequence[Mapping[str, Any]], folder: Path
) -> list[Path]:
    """Write ``searchers.csv`` and ``searchers.md``; return their paths."""
    return write_table(searcher_table(records, regrets), folder / "searchers", "Searchers")


def searcher_table(records: Iterable[JobRecord], regrets: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row for each method and budget: means over the seeds that are done.

    Differences of FD are paired within each seed; spreads are standard deviations over seeds.
    ``regrets`` are mappings with ``method``, ``budget`` and ``regret``. Rows are in the order of FD
    within a budget, or of the held-out error without FD, then by name.
    """
    board = leaderboard(records)
    frame = pd.concat([block.frame for block in board.blocks], ignore_index=True)
    frame = frame.sort_values("job", ignore_index=True)
    done = frame[frame["is_done"]]
    for rival in RIVALS:
        theirs = done[done["method"] == rival].set_index(["budget", "seed"])
        mine = done[(done["method"] != rival) & ~done["is_full"]]
        found = paired(mine, theirs)
        frame[f"fd_{rival}_delta"], frame[f"fd_{rival}_delta_ci"] = found["delta"], found["ci"]
    scores = ["output_mse", "fd", "fd_delta", *(f"fd_{rival}_delta" for rival in RIVALS)]
    costs = ["search_evals", "search_seconds", "bitops_linear"]
    means = seed_means(frame, scores, costs).drop(columns="seeds")
    means = means.rename(columns={f"fd_{rival}_delta_ci": f"fd_{rival}_ci" for rival in RIVALS})
    means = means.rename(columns={"seeds_done": "seeds"}).set_index(CONDITION)
    found = pd.DataFrame(list(regrets), columns=[*CONDITION, "regret"]).astype({"regret": float})
    spread = found.groupby(CONDITION)["regret"].agg(["mean", "std"])
    means[["regret", "regret_std"]] = spread.reindex(means.index)
    order = means["fd"].fillna(means["output_mse"])
    means = means.reset_index().assign(failed=means["status"].ne("done").array, order=order.array)
    means = means.sort_values(["failed", "budget", "order", "method"], ignore_index=True)
    extractor = next((block.extractor for block in board.blocks if block.extractor), None)
    columns = adapt(SEARCHERS, means.drop(columns="bitops"), extractor)
    block = replace(
        board.blocks[0], extractor=extractor, columns=columns, frame=means,
        notes=table_notes("searchers", done, extractor),
    )  # fmt: skip
    return Table((block,), SEARCHERS)


def write_proxies(table: pd.DataFrame, records: Sequence[JobRecord], folder: Path) -> list[Path]:
    """Write ``proxies.md`` and the figure; return their paths.

    ``table`` has a row for each proxy and part of the allocations, in columns ``proxy``, ``part``,
    and for every measurement M ``tau_M``, ``tau_M_ci``, ``behind_M`` and ``behind_M_ci``.
    """
    paths = write_texts(folder / "proxies", {"md": proxy_markdown(table, records)})
    figure = proxy_figure(table, records[0].extractor)
    return paths + drawing.save(figure, folder / "figures" / "proxies")


def proxy_markdown(table: pd.DataFrame, records: Sequence[JobRecord]) -> str:
    """Return Kendall's tau of every proxy with each measurement, best first."""
    one = records[0]
    headers = _headers(table, one.extractor)
    whole, half = (_ordered(table, part).set_index("proxy") for part in PARTS)
    first, *others = headers
    cells = {f"τ with {headers[first]}": _taus(whole, first)}
    cells[f"τ with {headers[first]}, better half"] = _taus(half, first)
    cells |= {f"τ with {headers[name]}": _taus(whole, name) for name in others}
    rows = pd.DataFrame(cells).reindex(whole.index).reset_index()
    told = bullets(notes("proxies", records=records, one=one, first=headers[first]))
    return f"# Proxies at {one.budget}\n\n{pipe_table(rows, ['proxy'])}\n\n{told}\n"


def proxy_figure(table: pd.DataFrame, extractor: str | None) -> Figure:
    """Draw tau with the first measurement, over all allocations and over the better half."""
    truth, header = next(iter(_headers(table, extractor).items()))
    names = list(_ordered(table, PARTS[0])["proxy"])
    tau, half = table[f"tau_{truth}"], table[f"tau_{truth}_ci"]
    ends = table[["proxy"]].assign(value=tau, low=tau - half, high=tau + half)
    parts = {part: ends[table["part"] == part].set_index("proxy") for part in PARTS}
    with drawing.canvas(5.0, 0.9 + 0.24 * len(names)) as figure:
        axes = figure.add_subplot(xlabel=f"Kendall's tau with {header}, 95 % interval")
        drawing.forest(axes, names, parts)
        axes.axvline(0, color=drawing.FULL_COLOUR, linewidth=0.6)
        axes.grid(axis="y", visible=False)
        drawing.explain(figure, drawing.handles_of(axes))
    return figure


def _taus(table: pd.DataFrame, name: str) -> pd.Series:
    """Return tau with its interval as text: the best bold, those tied with it marked."""
    tau, half = table[f"tau_{name}"], table[f"tau_{name}_ci"].map(" ±{:.2f}".format)
    behind, margin = table[f"behind_{name}"], table[f"behind_{name}_ci"]
    text = tau.map("{:+.2f}".format) + half
    return text.mask(behind <= margin, text + " ≈").mask(behind == 0, "**" + text + "**")


def _ordered(table: pd.DataFrame, part: str) -> pd.DataFrame:
    rows = table[table["part"] == part]
    first = next(column for column in table.columns if column.startswith("tau_"))
    return rows.sort_values([first, "proxy"], ascending=[False, True], kind="stable")


def _headers(table: pd.DataFrame, extractor: str | None) -> dict[str, str]:
    """Return the measurements in the order of the columns, with their headers."""
    names = {"fd": frechet_names(extractor)[0], "output_mse": "held-out MSE"}
    return {key: text for key, text in names.items() if f"tau_{key}" in table.columns}
