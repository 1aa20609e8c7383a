"""The environment that a row was measured in: which rows may be paired, and which are citable."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .schema import JobRecord

COMMITTED = "committed"
DIRTY = "-dirty"  # behind a commit: its sources had changes that were not committed
_TRADE = re.compile(r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|@.*")


class MeasuringEnvironment(NamedTuple):
    """What may change the last bits of a result but the job.

    ``processor`` is the family of the processor, ``device`` is ``cpu`` or the name of a GPU,
    ``sources`` the digest of the harness. Of records without that digest it is ``committed``, or
    the commit that had changes. ``threads`` is ``None`` where their number changes nothing.
    """

    processor: str
    torch: str
    device: str
    sources: str
    threads: int | None = None

    def text(self, with_threads: bool = True) -> str:
        """Return the environment in words."""
        parts = [self.processor, f"PyTorch {self.torch}", self.device, f"sources {self.sources}"]
        if with_threads and self.threads is not None:
            parts.append(f"{self.threads} thread{'s' if self.threads > 1 else ''}")
        return ", ".join(parts)


def environment_of(record: JobRecord) -> MeasuringEnvironment:
    """Return the environment of a record, of an older one as far as it is known.

    The number of threads counts for a method that is trained. It also counts for a quantized model
    of a record without a digest of the harness, whose fits depended on it.
    """
    known = record.provenance
    trained = _name(record.recipe.get("tuner")) not in ("", "none")
    counts = trained or (known.harness is None and not record.is_full_precision)
    return MeasuringEnvironment(
        known.processor or processor_name(known.cpu) or "unknown",
        (known.torch or "unknown").partition("+")[0],
        known.device or known.gpu or "cpu",
        known.harness or _sources(known.git),
        known.threads if counts else None,
    )


def differences(first: MeasuringEnvironment, second: MeasuringEnvironment) -> list[str]:
    """Return what differs between two environments, which are alike where this is empty."""
    pairs = zip(first._fields, first, second, strict=True)
    return [
        "number of threads" if name == "threads" else name
        for name, one, other in pairs
        if one != other and not (name == "threads" and None in (one, other))
    ]


def by_environment(records: Iterable[JobRecord]) -> dict[tuple[str, str], list[JobRecord]]:
    """Return the records by environment in words and commit."""
    found: dict[tuple[str, str], list[JobRecord]] = {}
    for record in records:
        where = environment_of(record).text(), record.provenance.git or "unknown"
        found.setdefault(where, []).append(record)
    return found


def not_citable(records: Sequence[JobRecord]) -> list[str]:
    """Return why records cannot be published together; nothing where they can.

    They can where all that are done come from one environment and from sources that were committed.
    """
    done = [record for record in records if record.status == "done"]
    reasons = []
    environments = [environment_of(record) for record in done]
    threads = {where.threads for where in environments} - {None}
    if (count := max(len({where[:4] for where in environments}), len(threads))) > 1:
        reasons.append(f"{len(done)} rows come from {count} environments")
    commits = [record.provenance.git for record in done]
    if (count := len(set(commits))) > 1 and COMMITTED in {e.sources for e in environments}:
        reasons.append(f"they come from {count} commits, without a digest of the harness")
    if unknown := sum(commit is None for commit in commits):
        reasons.append(f"of {unknown} rows the commit is unknown")
    if dirty := sum(str(commit).endswith(DIRTY) for commit in commits):
        reasons.append(f"{dirty} rows come from sources that were not committed")
    return reasons


def _sources(commit: str | None) -> str:
    if commit is None or commit.endswith(DIRTY):
        return commit or "unknown"
    return COMMITTED


def _name(choice: object) -> str:
    return str(choice.get("name", "")) if isinstance(choice, dict) else str(choice or "")


def processor_name(cpu: str | None) -> str:
    """Return the name of a processor without trade marks and clock rate."""
    return " ".join(_TRADE.sub(" ", cpu or "").split())
