"""What a reader must know to read a block of rows, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from ..records.schema import JobRecord
from .columns import FRECHET_NAMES, frechet_names

_NOTHING = "No job of this block is done."


def leaderboard_notes(done: Sequence[JobRecord], extractor: str | None) -> tuple[str, ...]:
    """Notes under the rows of one block; ``done`` are its successful records."""
    if not done:
        return (_NOTHING,)
    if not _has_distance(done):
        return _protocol(done, extractor), "No feature network: nothing is ranked."
    fd = frechet_names(extractor)[0]
    if any(record.is_full_precision for record in done):
        pair = (
            f"Δ{fd}: paired difference to full precision over the same noise and classes, with "
            "its own jackknife interval."
        )
    else:
        pair = f"No full-precision row here, so there is no Δ{fd}."
    return (
        _protocol(done, extractor),
        _caution(extractor),
        "±: half-width of the 95 % interval, 1.96 standard errors of the delete-group jackknife "
        f"over the generated images. {pair}",
        "≈FP / ≈best: the paired 95 % interval of the difference to full precision / to the best "
        "method of that budget contains 0.",
        f"Rank: by {fd} among the methods of one budget and seed that keep it; best values in "
        "bold.",
    )


def summary_notes(done: Sequence[JobRecord], extractor: str | None) -> tuple[str, ...]:
    """Notes under the means over seeds of one block."""
    if not done:
        return (_NOTHING,)
    notes = [
        _protocol(done, extractor),
        "Values are means over the seeds that are done; ±: standard deviation over these seeds "
        "(n - 1 in the denominator), absent for a single seed.",
    ]
    if _has_distance(done):
        notes.insert(1, _caution(extractor))
        notes.append(
            f"Rank: by {frechet_names(extractor)[0]} among the methods of one budget that keep "
            "it with every seed; best values in bold."
        )
    return tuple(notes)


def _has_distance(done: Sequence[JobRecord]) -> bool:
    return any("fd" in record.scores for record in done)


def _protocol(done: Sequence[JobRecord], extractor: str | None) -> str:
    counts = sorted({record.n_images for record in done})
    protocol = done[0].protocol
    facts = [f"N = {', '.join(map(str, counts))} images per row"]
    facts.append(f"features: {extractor or 'none'}")
    if _has_distance(done) and "reference" in protocol:
        facts.append(f"reference: {protocol['reference']}")
    if "name" in protocol:
        facts.append(f"protocol: {protocol['name']}{_sampling(protocol)}")
    return "; ".join(facts) + "."


def _caution(extractor: str | None) -> str:
    fd = frechet_names(extractor)[0]
    if extractor in FRECHET_NAMES:
        return f"{fd} depends on N: compare only with values over the same number of images."
    return (
        f"{fd} is a Fréchet distance in these features: it is not FID, and published FID values "
        "cannot be compared with it."
    )


def _sampling(protocol: dict[str, object]) -> str:
    parts = []
    if "sampler" in protocol and "steps" in protocol:
        parts.append(f"{str(protocol['sampler']).upper()} {protocol['steps']} steps")
    if "guidance" in protocol:
        parts.append(f"guidance {protocol['guidance']}")
    return f" ({', '.join(parts)})" if parts else ""
