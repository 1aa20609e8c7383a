"""Methods that differ in one number of their recipe and in nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import BenchError, unknown
from ...records.schema import JobRecord
from .seeds import Spread, over_seeds
from .settings import key_of, settings_of

FEWEST = 3  # values from which on a scan is drawn unasked


@dataclass(frozen=True)
class SweepSeries:
    """Records by the value of the setting ``path``, in ascending order; ``fixed`` is the rest."""

    path: str
    fixed: Mapping[str, Any]
    records: Mapping[float, Sequence[JobRecord]]

    def scores(self, metric: str) -> dict[float, Spread]:
        """Mean and interval over seeds of ``metric`` at every value that has it."""
        found = {value: over_seeds(own, metric) for value, own in self.records.items()}
        return {value: own for value, own in found.items() if own is not None}


def families(records: Iterable[JobRecord], fewest: int = 2) -> list[SweepSeries]:
    """Every family of at least ``fewest`` values, for every numeric setting that differs.

    A method that leaves the number to a default is in no family: its recipe does not say it. Of
    methods with the same settings the first by name counts. Only jobs that are done.
    """
    groups: dict[tuple[str, str], dict[float, dict[int, JobRecord]]] = defaultdict(dict)
    fixed: dict[tuple[str, str], Mapping[str, Any]] = {}
    done = (record for record in records if record.status == "done")
    for record in sorted(done, key=lambda record: record.job):
        settings = settings_of(record.recipe)
        for path, value in settings.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = {key: other for key, other in settings.items() if key != path}
                key = (path, key_of(rest))
                fixed[key] = rest
                groups[key].setdefault(float(value), {}).setdefault(record.seed, record)
    return [
        SweepSeries(
            key[0], fixed[key], {value: tuple(own[value].values()) for value in sorted(own)}
        )
        for key, own in sorted(groups.items())
        if len(own) >= fewest
    ]


def of_path(found: Sequence[SweepSeries], path: str) -> list[SweepSeries]:
    """The families of the setting ``path``. Raises BenchError where there is none."""
    valid = {family.path for family in found}
    if not valid:
        raise BenchError(
            f"nothing to scan by '{path}': no two methods of this run differ in one number alone"
        )
    if path not in valid:
        raise unknown("setting to scan", path, valid)
    return [family for family in found if family.path == path]


def labels_of(found: Sequence[SweepSeries]) -> list[str]:
    """What tells families apart, such as ``tss, keep 4``; the searcher where there is but one."""
    paths = dict.fromkeys(path for family in found for path in family.fixed)
    telling = [path for path in paths if len({_text(family, path) for family in found}) > 1]
    return [
        ", ".join(filter(None, (_text(family, path) for path in telling or ["searcher.name"])))
        for family in found
    ]


def _text(family: SweepSeries, path: str) -> str:
    value = family.fixed.get(path)
    if value is None:
        return ""
    shown = "/".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
    name = path.rpartition(".")[2]
    return shown if name == "name" else f"{name} {shown}"
