"""How much structure latents keep: latents of which a known share is gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.fft import dctn, idctn

from mpqbench.lab.suites import load_suite
from mpqbench.records.statistics import paired_difference
from mpqbench.records.store import RecordStore
from tools.shrinkage import BANDS, band_of, gains


def test_gains_and_noise_that_were_planted_are_found():
    rng = np.random.default_rng(0)
    full = rng.standard_normal((400, 4, 8, 8))
    kept = np.array([1.0, 0.98, 0.95, 0.9, 0.7])[band_of(8, 8)]
    own = idctn(kept * dctn(full, axes=(2, 3), norm="ortho"), axes=(2, 3), norm="ortho")
    planted = [0, -0.02, -0.05, -0.1, -0.3]
    exact = gains(own + 3, full)  # what all have in common is no structure
    assert [gain for gain, _, _ in exact] == pytest.approx(planted)
    assert [rest for _, _, rest in exact] == pytest.approx([0] * BANDS, abs=1e-12)
    found = gains(own + 0.2 * rng.standard_normal(full.shape), full)
    for (gain, half, rest), wanted in zip(found, planted, strict=True):
        assert abs(gain - wanted) < 1.5 * half
        assert 0 < half < 0.03
        assert rest == pytest.approx(0.04, rel=0.1)


def test_bands_are_equal_parts_of_the_frequencies():
    bands = band_of(8, 8)
    assert bands[0, 0] == 0
    assert bands[7, 7] == BANDS - 1
    assert [(bands == band).sum() for band in range(BANDS)] == [6, 15, 22, 15, 6]


ROOT = Path(__file__).parents[1]


def test_the_page_quotes_the_committed_suite():
    folder = ROOT / "leaderboards/correction"
    assert load_suite(str(folder / "suite.yaml")).methods == load_suite("correction").methods
    scores = {record.method: record.scores for record in RecordStore(folder).read_all()}
    rows = pd.read_csv(folder / "leaderboard.csv").set_index("method")
    page = (ROOT / "docs/correction.md").read_text()
    without = {"groups-steps": "groups", "groups-corrected": "groups", "quarot-corrected": "quarot"}
    assert {*without, *without.values(), "full-precision"} == set(scores)
    for method in {*without, *without.values()}:
        row, delta = rows.loc[method], ""
        if method in without:
            pair = paired_difference(scores[method]["fd"], scores[without[method]]["fd"])
            delta = "{:+.3f} ±{:.3f}".format(*pair)
        costs = f"{row.bitops / 1e9:.3f} | {row.bytes / 1e6:.2f}"
        line = f"| `{method}` | {row.fd:.3f} | {delta} | {row.psnr:.2f} | {costs} |"
        assert line.replace("|  |", "| |") in page
    assert f"FD of full precision is {rows.fd['full-precision']:.3f}" in page
    corrected, plain = rows.loc["groups-corrected"], rows.loc["groups"]
    assert f"({(corrected.bytes - plain.bytes) / 1e3:.0f} kB of {plain.bytes / 1e6:.1f} MB" in page
    assert f"({100 * (corrected.bitops / plain.bitops - 1):.1f} % of BitOPs at W3A3)" in page
