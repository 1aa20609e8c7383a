"""Figures drawn from the tables that studies and ablations leave in the folder of a run."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ..core.errors import BenchError
from ..records.agreement import ModelAgreement
from ..records.columns import frechet_names
from ..records.runs import Runs
from .ablation_figures import effects_by_budget
from .agreement import agreement_figure, agreement_rows
from .drawing import Picture
from .looks import Style
from .study_figures import PARTS, branch_figure, proxy_figure
from .table import Table

Named = Iterator[tuple[str, Picture]]
_EFFECTS = ("budget", "response", "scale", "kind", "factor", "effect", "low", "high")
_PROXIES = ("proxy", "part")
_BRANCHES = ("layer", "kind", "bits", "rank", "branch", "weighted", "ratio")


def effects_of_files(table: Table, runs: Runs, style: Style) -> Named:
    """Yield ``effects-BUDGET`` of every folder with ``effects.csv``."""
    found = dict(_tables(runs, "effects.csv", _EFFECTS))
    for folder, effects in found.items():
        texts = effects.select_dtypes(exclude="number").columns
        effects[texts] = effects[texts].fillna("")
        for name, figure in effects_by_budget(effects, _extractor(runs, folder), style):
            figure.title += f": {_model(runs, folder)}"
            yield (name if len(found) == 1 else f"{name}-{folder.resolve().name}"), figure


def proxy_figures(table: Table, runs: Runs, style: Style) -> Named:
    """Yield ``proxies``, with a panel for every folder that has ``proxies.csv``.

    Two folders give ``proxies-agreement`` as well: tau of each proxy on one model and the other.
    """
    found = dict(_tables(runs, "proxies.csv", _PROXIES))
    models = [_model(runs, folder) for folder in found]
    if len(set(models)) < len(models):
        models = [f"{m}, {folder.resolve().name}" for m, folder in zip(models, found, strict=True)]
    extractors = {frechet_names(_extractor(runs, folder))[0]: folder for folder in found}
    if len(extractors) > 1:
        raise BenchError(
            f"proxies.csv of these folders rank by {' and '.join(extractors)}: give those of one"
        )
    for folder in extractors.values():
        tables = dict(zip(models, found.values(), strict=True))
        yield "proxies", proxy_figure(tables, _extractor(runs, folder), style)
        if len(tables) == 2 and (pair := proxy_agreement(*tables.values())) is not None:
            shown = dict.fromkeys(tables, f"Kendall's tau with {next(iter(extractors))}")
            yield "proxies-agreement", agreement_figure(shown, [pair], style, "linear")


def proxy_orders(runs: Runs) -> list[dict[str, str]]:
    """Return the rows of a table for two folders of proxies, none for other folders."""
    tables = [table for _, table in _tables(runs, "proxies.csv", _PROXIES)]
    pair = proxy_agreement(*tables) if len(tables) == 2 else None
    return list(agreement_rows("τ of each proxy", [pair])) if pair else []


def proxy_agreement(one: pd.DataFrame, other: pd.DataFrame) -> ModelAgreement | None:
    """Return how far two tables of proxies order these alike by their tau over all allocations.

    ``None`` for fewer than ten proxies in common. The interval is one over proxies.
    """
    tau = next(name for name in one.columns if name.startswith("tau_"))
    rows = (table[table["part"] == PARTS[0]].set_index("proxy")[tau] for table in (one, other))
    values = pd.DataFrame(dict(zip(("one", "other"), rows, strict=True))).dropna()
    return ModelAgreement.over_methods(values)


def branch_figures(table: Table, runs: Runs, style: Style) -> Named:
    """Yield ``branches`` of every folder with ``branches.csv``."""
    found = dict(_tables(runs, "branches.csv", _BRANCHES))
    for folder, rows in found.items():
        end = f"-{folder.resolve().name}" if len(found) > 1 else ""
        yield f"branches{end}", branch_figure(rows, _model(runs, folder), style)


def _tables(runs: Runs, name: str, columns: tuple[str, ...]) -> Iterator[tuple[Path, pd.DataFrame]]:
    for folder in runs.folders:
        path = folder / name
        if not path.is_file():
            continue
        try:
            table = pd.read_csv(path, keep_default_na=False, na_values=[""])
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise BenchError(f"{path} cannot be read ({reason}): make it again") from None
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise BenchError(f"{path} has no column '{missing[0]}': make it again")
        yield folder, table


def _records(runs: Runs, folder: Path) -> list[str]:
    """Return the jobs whose records are in ``folder``."""
    return [job for job, store in runs.stores.items() if store.folder == folder]


def _extractor(runs: Runs, folder: Path) -> str | None:
    jobs = set(_records(runs, folder))
    found = (record.extractor for record in runs.records if record.job in jobs)
    return next((extractor for extractor in found if extractor), None)


def _model(runs: Runs, folder: Path) -> str:
    """Return the model of the records of ``folder``, or its name where there are none."""
    jobs = set(_records(runs, folder))
    models = dict.fromkeys(record.model for record in runs.records if record.job in jobs)
    return ", ".join(models) or folder.resolve().name
