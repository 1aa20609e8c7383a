"""Tables of the studies of searchers, of proxies and of branches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..core.suite import Job
from ..records.columns import RIVALS, SEARCHERS, adapt
from ..records.frame import paired, seed_means
from ..records.schema import JobRecord
from ..records.statistics import Spread
from . import drawing
from .ablation import shown_effect
from .looks import Style
from .notes import notes, table_notes
from .render import bullets, pipe_table, to_csv, to_markdown, write_texts
from .study_figures import (
    ALL,
    FIT,
    MORE_BITS,
    NONE,
    PARTS,
    branch_figure,
    by_fit,
    geometric_mean,
    headers_of,
    ordered_proxies,
    proxy_figure,
)
from .table import Table, leaderboard

_CONDITION = ["method", "budget"]  # of which seeds are a repetition: a study has one format


def write_searchers(
    records: Iterable[JobRecord], regrets: Sequence[Mapping[str, Any]], folder: Path
) -> list[Path]:
    """Write ``searchers.csv`` and ``searchers.md``; return their paths."""
    table = searcher_table(records, regrets)
    texts = {"csv": to_csv(table), "md": to_markdown(table, "Searchers")}
    return write_texts(folder / "searchers", texts)


def searcher_table(records: Iterable[JobRecord], regrets: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row for each method and budget: means over the seeds that are done.

    Differences of FD are paired within each seed and realization; spreads are standard deviations
    over all jobs, as searches differ between realizations and images between seeds.
    ``regrets`` are mappings with ``method``, ``budget`` and ``regret``. Rows are in the order of FD
    within a budget, or of the held-out error without FD, then by name.
    """
    board = leaderboard(records)
    frame = pd.concat([block.frame for block in board.blocks], ignore_index=True)
    frame = frame.sort_values("job", ignore_index=True)
    done = frame[frame["is_done"]]
    for rival in RIVALS:
        theirs = done[done["method"] == rival].set_index(["budget", "seed", "realization"])
        mine = done[(done["method"] != rival) & ~done["is_full"]]
        found = paired(mine, theirs)
        frame[f"fd_{rival}_delta"], frame[f"fd_{rival}_delta_ci"] = found["delta"], found["ci"]
    scores = ["output_mse", "fd", "fd_delta", *(f"fd_{rival}_delta" for rival in RIVALS)]
    costs = ["search_evals", "search_seconds", "bitops_linear"]
    means = seed_means(frame, scores, costs).drop(columns="seeds")
    means = means.rename(columns={f"fd_{rival}_delta_ci": f"fd_{rival}_ci" for rival in RIVALS})
    means = means.rename(columns={"seeds_done": "seeds"}).set_index(_CONDITION)
    found = pd.DataFrame(list(regrets), columns=[*_CONDITION, "regret"]).astype({"regret": float})
    regret = found.groupby(_CONDITION)["regret"].agg(["mean", "std"])
    means[["regret", "regret_std"]] = regret.reindex(means.index)
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
    figure = proxy_figure({records[0].model: table}, records[0].extractor, Style())
    return paths + drawing.save(figure, folder / "figures" / "proxies")


def proxy_markdown(table: pd.DataFrame, records: Sequence[JobRecord]) -> str:
    """Return Kendall's tau of every proxy with each measurement, best first."""
    one = records[0]
    headers = headers_of(table, one.extractor)
    whole, half = (ordered_proxies(table, part).set_index("proxy") for part in PARTS)
    first, *others = headers
    cells = {f"τ with {headers[first]}": _taus(whole, first)}
    cells[f"τ with {headers[first]}, better half"] = _taus(half, first)
    cells |= {f"τ with {headers[name]}": _taus(whole, name) for name in others}
    rows = pd.DataFrame(cells).reindex(whole.index).reset_index()
    told = bullets(notes("proxies", records=records, one=one, first=headers[first]))
    return f"# Proxies at {one.budget}\n\n{pipe_table(rows, ['proxy'])}\n\n{told}\n"


def _taus(table: pd.DataFrame, name: str) -> pd.Series:
    """Return tau with its interval as text: the best bold, those tied with it marked."""
    tau, half = table[f"tau_{name}"], table[f"tau_{name}_ci"].map(" ±{:.2f}".format)
    behind, margin = table[f"behind_{name}"], table[f"behind_{name}_ci"]
    text = tau.map("{:+.2f}".format) + half
    return text.mask(behind <= margin, text + " ≈").mask(behind == 0, "**" + text + "**")


_FITS = {False: "weight", True: "output"}


def write_branches(table: pd.DataFrame, job: Job, folder: Path) -> list[Path]:
    """Write ``branches.md`` and the figure; return their paths."""
    paths = write_texts(folder / "branches", {"md": branch_markdown(table, job)})
    return paths + drawing.save(
        branch_figure(table, job.model, Style(usual="text")), folder / "figures" / "branches"
    )


def branch_markdown(table: pd.DataFrame, job: Job) -> str:
    """Return a table for every number of bits and size, then weighted against unweighted fits."""
    told = notes(
        "branches", layers=table["layer"].nunique(), recipe=job.recipe, seed=job.seed,
        inputs=job.protocol.calibration,
    )  # fmt: skip
    parts = [f"# Branches at equal bytes: {job.model}"]
    compared = table[table["branch"] != NONE]
    for bits, rows in compared.groupby("bits"):
        alone = _by_kind(table[(table["bits"] == bits) & (table["branch"] == NONE)], "error")
        errors = ", ".join(f"{kind} {value:.2%}" for kind, value in alone.items())
        parts += [f"## Weights of {bits} bits", f"Error without a branch: {errors}."]
        for rank, part in rows.groupby("rank"):
            parts += [f"### In the bytes of rank {rank}", _size_rows(part)]
    parts += ["## Fitted to the output against fitted to the weight", _fit_rows(compared)]
    return "\n\n".join([*parts, bullets(told)]) + "\n"


def wins(part: pd.DataFrame) -> pd.Series:
    """Return by branch and fit the layers with the lowest error, of one number of bits and size."""
    rivals = part[part["branch"] != MORE_BITS]
    best = rivals["error"] == rivals.groupby("layer")["error"].transform("min")
    return best.groupby([rivals[name] for name in FIT], sort=False).sum()


def against(part: pd.DataFrame, other: pd.DataFrame) -> tuple[Spread, int, int]:
    """Return the ratio of errors over layers, how many are below 1, and the number of layers."""
    ratios = part.set_index("layer")["error"] / other.set_index("layer")["error"]
    return geometric_mean(ratios), int((ratios < 1).sum()), len(ratios)


def _size_rows(part: pd.DataFrame) -> str:
    first, won, fits = part["branch"].iloc[0], wins(part), by_fit(part)
    means = pd.DataFrame({fit: _by_kind(rows, "ratio") for fit, rows in fits.items()}).T
    best = means.loc[won.index].min().to_dict()
    lines = []
    for (name, weighted), rows in fits.items():
        is_rival = (name, weighted) in won.index
        cells: dict[str, Any] = {"branch": name, "fitted to": _FITS[weighted]}
        for kind, mean in means.loc[[(name, weighted)]].iloc[0].to_dict().items():
            is_best = is_rival and mean == best[kind]
            cells[str(kind)] = f"**{mean:.3f}**" if is_best else f"{mean:.3f}"
        _, low, high, _ = geometric_mean(rows["ratio"])
        cells[ALL] += f" [{low:.3f}, {high:.3f}]"
        cells["wins"] = won.get((name, weighted), "")
        rival, more = fits.get((first, weighted)), fits.get((MORE_BITS, weighted))
        cells[f"÷ {first}"] = "" if rival is None or name == first else _ratio(rows, rival)
        lower = against(rows, more)[1:] if more is not None and is_rival else ()
        cells[f"< {MORE_BITS}"] = "/".join(map(str, lower))
        cells |= {"bytes": f"{rows['bytes'].sum():,}", "MACs": f"{rows['macs'].sum():,}"}
        lines.append(cells)
    return pipe_table(pd.DataFrame(lines), ["branch", "fitted to"])


def _fit_rows(compared: pd.DataFrame) -> str:
    both = compared[compared.groupby("branch")["weighted"].transform("nunique") == 2]
    lines: dict[str, dict[str, str]] = {name: {} for name in both["branch"].unique()}
    for (bits, rank, name), rows in both.groupby(["bits", "rank", "branch"]):
        ratio = _ratio(rows[rows["weighted"]], rows[~rows["weighted"]])
        lines[str(name)][f"{bits} bits, rank {rank}"] = ratio
    return pipe_table(pd.DataFrame(lines).T.rename_axis("branch").reset_index(), ["branch"])


def _ratio(rows: pd.DataFrame, other: pd.DataFrame) -> str:
    ratio, lower, layers = against(rows, other)
    return f"{shown_effect(*ratio[:3], log=True)}, {lower}/{layers}"


def _by_kind(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return the geometric means of a column by kind of layer, then over all layers."""
    logs = np.log(rows[column])
    kinds = logs.groupby(rows["kind"], sort=False).mean()
    return np.exp(pd.concat([kinds, pd.Series({ALL: logs.mean()})]))
