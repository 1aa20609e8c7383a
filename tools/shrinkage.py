"""Measure how much of full precision's structure final latents keep, from coarse to fine.

For a finished run with its samples, from the root of the repository; writes shrinkage.csv into the
folder of the run:

    mpqbench run correction && python -m tools.shrinkage runs/correction

Gain is the slope of least squares of a method's latents on full precision's of the same noise and
class, less 1: -0.05 means that 5 % of the structure is gone, in all images alike. ``rest`` is the
variance of what the slope does not explain, relative to full precision's variance. Both are over
images and channels, in five bands of spatial frequencies (equal parts of the sum of both
frequencies of a cosine transform), coarse bands first; ``gain_ci`` is the half-width of the 95 %
interval over images.
"""

from pathlib import Path

import click
import numpy as np
import pandas as pd
from scipy.fft import dctn

from mpqbench.core.errors import BenchError
from mpqbench.records.schema import JobRecord
from mpqbench.records.store import RecordStore

BANDS, FOLDS = 5, 20


def latents(store: RecordStore, record: JobRecord) -> np.ndarray:
    """Return final latents (n, c, h, w). Raises BenchError where the samples are gone."""
    shards = sorted(store.samples_path(record.job).glob("shard-*.npz"))
    if not shards:
        raise BenchError(f"{store.folder} has no samples of {record.job}: run it again")
    return np.concatenate([np.load(path)["latents"] for path in shards])[: record.n_images]


def band_of(height: int, width: int) -> np.ndarray:
    """Return the band of every coefficient: (h, w)."""
    return np.add.outer(np.arange(height), np.arange(width)) * BANDS // (height + width - 1)


def gains(own: np.ndarray, full: np.ndarray) -> list[tuple[float, float, float]]:
    """Return the gain less 1, its half-width and the relative rest of each band, coarse first."""
    given, wanted = (dctn(each, axes=(2, 3), norm="ortho") for each in (own, full))
    given, wanted = (each - each.mean(0) for each in (given, wanted))
    bands, found = band_of(*own.shape[2:]), []
    for band in range(BANDS):
        x, y = (each[:, :, bands == band].reshape(len(own), -1) for each in (wanted, given))
        products, squares = (x * y).sum(1), (x * x).sum(1)
        slope = products.sum() / squares.sum()
        folds = [np.arange(len(x)) % FOLDS != fold for fold in range(FOLDS)]
        each = np.array([products[kept].sum() / squares[kept].sum() for kept in folds])
        half = 1.96 * np.sqrt((FOLDS - 1) * each.var())
        rest = np.square(y - slope * x).sum() / squares.sum()
        found.append((float(slope - 1), float(half), float(rest)))
    return found


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    store = RecordStore(folder)
    done = [record for record in store.read_all() if record.status == "done"]
    full = {(r.model, r.seed): latents(store, r) for r in done if r.is_full_precision}
    rows = []
    for record in done:
        if record.is_full_precision:
            continue
        own, wanted = latents(store, record), full[record.model, record.seed]
        for band, (gain, half, rest) in enumerate(gains(own, wanted), start=1):
            row = {"method": record.method, "budget": record.budget, "seed": record.seed}
            rows.append({**row, "band": band, "gain": gain, "gain_ci": half, "rest": rest})
            click.echo(rows[-1])
    pd.DataFrame(rows).to_csv(folder / "shrinkage.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
