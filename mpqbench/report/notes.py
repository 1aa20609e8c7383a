"""Sentences under the rows of a table, from the rows that are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records.columns import FRECHET_NAMES, frechet_names

if TYPE_CHECKING:
    import pandas as pd

_NOTHING = "No job of this block is done."


def leaderboard_notes(done: pd.DataFrame, extractor: str | None) -> tuple[str, ...]:
    """Return the notes of one block of a leaderboard."""
    if done.empty:
        return (_NOTHING,)
    if not _has_distance(done):
        return _protocol(done, extractor), "No feature network: nothing is ranked."
    fd = frechet_names(extractor)[0]
    pair = f"No full-precision row here, so there is no Δ{fd}."
    if done["is_full"].any():
        pair = (
            f"Δ{fd}: paired difference to full precision over the same noise and classes, with "
            "its own jackknife interval."
        )
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


def summary_notes(done: pd.DataFrame, extractor: str | None) -> tuple[str, ...]:
    """Return the notes of the means over seeds of one block."""
    if done.empty:
        return (_NOTHING,)
    means = (
        "Values are means over the seeds that are done; ±: standard deviation over these seeds "
        "(n - 1 in the denominator), absent for a single seed."
    )
    if not _has_distance(done):
        return _protocol(done, extractor), means
    rank = (
        f"Rank: by {frechet_names(extractor)[0]} among the methods of one budget that keep it with "
        "every seed; best values in bold."
    )
    return _protocol(done, extractor), _caution(extractor), means, rank


def _has_distance(done: pd.DataFrame) -> bool:
    return bool(done["fd"].notna().any())


def _protocol(done: pd.DataFrame, extractor: str | None) -> str:
    counts = map(str, sorted(done["n_images"].unique()))
    own = done.sort_values("job")["protocol"].iloc[0]
    facts = [f"N = {', '.join(counts)} images per row", f"features: {extractor or 'none'}"]
    if _has_distance(done) and "reference" in own:
        facts.append(f"reference: {own['reference']}")
    if "name" in own:
        parts = [f"{own['sampler'].upper()} {own['steps']} steps"] if "sampler" in own else []
        parts += [f"guidance {own['guidance']}"] if "guidance" in own else []
        facts.append(f"protocol: {own['name']}" + (f" ({', '.join(parts)})" if parts else ""))
    return "; ".join(facts) + "."


def _caution(extractor: str | None) -> str:
    fd = frechet_names(extractor)[0]
    if extractor in FRECHET_NAMES:
        return f"{fd} depends on N: compare only with values over the same number of images."
    return (
        f"{fd} is a Fréchet distance in these features: it is not FID, and published FID values "
        "cannot be compared with it."
    )
