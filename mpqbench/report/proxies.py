"""The study of proxies on paper: a table and a figure of rank correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..records.schema import JobRecord
from .columns import frechet_names
from .style import COLOURS, FULL_COLOUR, new_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PARTS = ("all", "better half")


def proxy_markdown(table: pd.DataFrame, records: Sequence[JobRecord]) -> str:
    """Kendall's tau with what was measured, best first; ``table`` has a row for each proxy and
    part of the allocations, as ``study.proxies.agreements`` gives them."""
    one = records[0]
    headers = _headers(table, one.extractor)
    whole, half = (_ordered(table, part).set_index("proxy") for part in PARTS)
    first = next(iter(headers))
    columns = [(whole, first), (half, first), *((whole, name) for name in headers if name != first)]
    titles = [f"τ with {headers[n]}{'' if t is whole else ', better half'}" for t, n in columns]
    lines = [f"# Proxies at {one.budget}", "", f"| proxy | {' | '.join(titles)} |"]
    lines.append(f"| --- |{' ---: |' * len(titles)}")
    for proxy in whole.index:
        cells = [_cell(own, str(proxy), name) for own, name in columns]
        lines.append(f"| {' | '.join([str(proxy), *cells])} |")
    images, inputs = one.n_images, one.protocol["calibration"]
    lines += [
        "",
        f"- {len(records)} sampled allocations within {one.budget}, {images:,} images each, "
        f"{inputs} calibration inputs; the better half has the lower {headers[first]}.",
        "- τ: Kendall's tau-b; ±: half-width of the 95 % interval, delete-one jackknife over "
        "allocations. The noise of the measured values lowers every τ alike.",
        "- Bold: the highest τ of its column. ≈: the interval of the paired difference from it "
        "holds zero.",
        "- sum: scores of single groups added up; joint: one score of the whole allocation.",
        "",
    ]
    return "\n".join(lines)


def proxy_figure(table: pd.DataFrame, extractor: str | None) -> Figure:
    """A line for each proxy: tau with FD (or what there is) over all allocations and over the
    better half."""
    truth, header = next(iter(_headers(table, extractor).items()))
    whole = _ordered(table, PARTS[0]).iloc[::-1]
    half = table[table.part == PARTS[1]].set_index("proxy").loc[whole.proxy]
    with style():
        figure = new_figure(5.0, 0.9 + 0.24 * len(whole))
        axes = figure.add_subplot()
        places = range(len(whole))
        for part, rows, colour, marker, shift in (
            (PARTS[0], whole, COLOURS[0], "o", 0.12),
            (PARTS[1], half, COLOURS[1], "s", -0.12),
        ):
            taus, halves = rows[f"tau_{truth}"], rows[f"tau_{truth}_ci"]
            axes.errorbar(
                taus, [place + shift for place in places], xerr=halves,
                fmt=marker, color=colour, markersize=3.5, elinewidth=0.8, label=part,
            )  # fmt: skip
        axes.axvline(0, color=FULL_COLOUR, linewidth=0.6)
        axes.set_yticks(list(places), list(whole.proxy))
        axes.set_ylim(-0.6, len(whole) - 0.4)
        axes.set_xlabel(f"Kendall's tau with {header}, 95 % interval")
        axes.grid(axis="x", linewidth=0.3)
        figure.legend(*axes.get_legend_handles_labels(), loc="upper center", ncols=2, frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.25 / figure.get_figheight()))
    return figure


def _cell(table: pd.DataFrame, proxy: str, name: str) -> str:
    row = table.loc[proxy]
    text = f"{row[f'tau_{name}']:+.2f} ±{row[f'tau_{name}_ci']:.2f}"
    if row[f"behind_{name}"] == 0:
        return f"**{text}**"
    return f"{text} ≈" if row[f"behind_{name}"] <= row[f"behind_{name}_ci"] else text


def _ordered(table: pd.DataFrame, part: str) -> pd.DataFrame:
    rows = table[table.part == part]
    first = next(column for column in table.columns if column.startswith("tau_"))
    return rows.sort_values([first, "proxy"], ascending=[False, True], kind="stable")


def _headers(table: pd.DataFrame, extractor: str | None) -> dict[str, str]:
    """What was measured, with its name for people, in the order of the columns."""
    names = {"fd": frechet_names(extractor)[0], "output_mse": "held-out MSE"}
    return {key: text for key, text in names.items() if f"tau_{key}" in table.columns}
