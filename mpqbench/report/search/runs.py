"""The searches of a run: which may be compared, and the tables they left on disk."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ...core.errors import BenchError, BenchWarning
from ...records.runs import Runs
from ...records.settings import SEARCH, key_of, settings_of, without
from ..table import Table

UNIFORM, GIVEN = "uniform", "given"  # searchers that search nothing
ByMethod = Mapping[str, pd.DataFrame]  # rows of a records frame, by seed


@dataclass(frozen=True, eq=False)
class SearchComparison:
    """Searches of one block of the leaderboard at one budget.

    ``plain`` are methods of uniform precision that quantize as one of the searches does.
    ``name`` is a part of file names.
    """

    name: str
    model: str
    budget: str
    extractor: str | None
    searches: ByMethod
    plain: ByMethod

    @property
    def title(self) -> str:
        """Model and budget."""
        return f"{self.model}, {self.budget}"

    @property
    def rows(self) -> pd.DataFrame:
        """The rows of all searches."""
        return pd.concat(list(self.searches.values()))


def comparisons(table: Table) -> list[SearchComparison]:
    """Return a comparison for every block, budget and class of formats with a search."""
    found = []
    for block in table.blocks:
        rows = block.done
        settings = rows["recipe"].map(settings_of)
        searcher = settings.map(lambda recipe: str(recipe.get("searcher.name", UNIFORM)))
        quantizer = settings.map(lambda recipe: key_of(without(recipe, SEARCH)))
        is_search = ~rows["is_full"] & ~searcher.isin([UNIFORM, GIVEN])
        several = rows.loc[~rows["is_full"], "format"].nunique() > 1
        for key, part in rows.groupby(["budget", "format"], sort=False):
            budget, formats = map(str, key)
            searches = part[is_search[part.index]]
            is_plain = searcher.eq(UNIFORM) & quantizer.isin(quantizer[searches.index])
            if len(searches):
                end = f"-{formats.replace('/', '-')}" if several else ""
                names = f"{block.name}-{budget}{end}", block.model, budget, block.extractor
                plain = part[is_plain[part.index]]
                found.append(SearchComparison(*names, _by_method(searches), _by_method(plain)))
    return found


def _by_method(rows: pd.DataFrame) -> ByMethod:
    ordered = rows.sort_values(["method", "seed"])
    return {str(method): part for method, part in ordered.groupby("method")}


def read_table(runs: Runs, job: str, table: str = "") -> pd.DataFrame | None:
    """Return a trace or a table of a search, ``None`` without one; warn of one that is damaged."""
    store = runs.store(job)
    path = store.trace_path(job, table)
    if not path.is_file():
        return None
    try:
        store.check_file(job, path)
        return pd.read_parquet(path)
    except BenchError as error:
        left_out(str(error))
    except Exception as error:  # the readers of parquet raise anything for a damaged file
        reason = " ".join(str(error).split())
        left_out(f"{path} is damaged ({reason}): delete the file, or run its suite with --fresh")
    return None


def read_allocation(runs: Runs, job: str) -> dict[str, str] | None:
    """Return the allocation of a job, ``None`` without one; warn of one that is damaged."""
    store = runs.store(job)
    if not store.allocation_path(job).is_file():
        return None
    try:
        return store.read_allocation(job)
    except BenchError as error:
        left_out(str(error))
        return None


def left_out(reason: str) -> None:
    """Warn that a figure is drawn without a file, or not at all."""
    warnings.warn(f"left out of the figures: {reason}", BenchWarning, stacklevel=2)
