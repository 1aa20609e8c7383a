"""Sentences under the rows of a table, from the rows that are done."""

import pandas as pd

from ..records.columns import FRECHET_NAMES, frechet_names

_NOTHING = "No job of this block is done."
_INTERVAL = (
    "±: half-width of the 95 % interval, 1.96 standard errors of the delete-group jackknife "
    "over the generated images."
)
_TIES = (
    "≈FP / ≈best: the paired 95 % interval of the difference to full precision / to the best "
    "method of that budget contains 0."
)
_MEANS = (
    "Values are means over the seeds that are done; ±: standard deviation over these seeds "
    "(n - 1 in the denominator), absent for a single seed."
)


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
    rank = f"Rank: by {fd} among the methods of one budget and seed that keep it"
    notes = _protocol(done, extractor), _caution(extractor), f"{_INTERVAL} {pair}", _TIES
    return *notes, f"{rank}; best values in bold."


def summary_notes(done: pd.DataFrame, extractor: str | None) -> tuple[str, ...]:
    """Return the notes of the means over seeds of one block."""
    if done.empty:
        return (_NOTHING,)
    if not _has_distance(done):
        return _protocol(done, extractor), _MEANS
    rank = f"Rank: by {frechet_names(extractor)[0]} among the methods of one budget that keep it"
    notes = _protocol(done, extractor), _caution(extractor), _MEANS
    return *notes, f"{rank} with every seed; best values in bold."


def _has_distance(done: pd.DataFrame) -> bool:
    return bool(done["fd"].notna().any())


def _protocol(done: pd.DataFrame, extractor: str | None) -> str:
    counts = map(str, sorted(done["n_images"].unique()))
    protocol = done.sort_values("job")["protocol"].iloc[0]
    facts = [f"N = {', '.join(counts)} images per row", f"features: {extractor or 'none'}"]
    if _has_distance(done):
        facts.append(f"reference: {protocol['reference']}")
    sampling = f"{protocol['sampler'].upper()} {protocol['steps']} steps"
    facts.append(f"protocol: {protocol['name']} ({sampling}, guidance {protocol['guidance']})")
    return "; ".join(facts) + "."


def _caution(extractor: str | None) -> str:
    fd = frechet_names(extractor)[0]
    if extractor in FRECHET_NAMES:
        return f"{fd} depends on N: compare only with values over the same number of images."
    return (
        f"{fd} is a Fréchet distance in these features: it is not FID, and published FID values "
        "cannot be compared with it."
    )
