"""What the pages say of TreeQ's recipes and of training is what the committed records say."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from mpqbench.lab.suites import load_suite
from mpqbench.records.statistics import paired_difference
from mpqbench.records.store import RecordStore
from mpqbench.report.render import to_csv, to_markdown
from mpqbench.report.table import summary

ROOT = Path(__file__).parents[1]
DEVELOPMENT = ROOT / "leaderboards/development"
FORMATS = {
    "chosen: `awq`, `gptq`, groups of 32": "awq-gptq",
    "`smooth`, searched, for `awq`": "smooth-gptq",
    "no transform": "gptq",
    "`hadamard` for `awq`": "hadamard-gptq",
    "`hadamard` in blocks of 32": "hadamard-32-gptq",
    "`nearest` for `gptq`": "awq-nearest",
    "groups of 16": "awq-gptq-g16",
    "groups of 64": "awq-gptq-g64",
}
TUNERS = {
    "none": "awq-gptq",
    "chosen: `peft`, `span: 10`, `balanced`": "peft-span-10",
    "`span: 1`": "peft-span-1",
    "`span: 5`": "peft-span-5",
    "`span: 20`": "peft-span-20",
    "`uniform` weighting": "peft-plain",
    "`qat`, `span: 10`, `balanced`": "qat-span-10",
}


@pytest.fixture(scope="module")
def records():
    return RecordStore(DEVELOPMENT).read_all()


def test_the_development_suite_is_the_committed_one(records):
    committed = load_suite(str(DEVELOPMENT / "suite.yaml"))
    assert committed.methods == load_suite("treeq-development").methods
    table = summary(records)
    assert (DEVELOPMENT / "summary.csv").read_text() == to_csv(table)
    title = "development: mean over seeds"
    assert (DEVELOPMENT / "summary.md").read_text() == to_markdown(table, title)


def test_the_page_quotes_the_development_suite(records):
    scores = {(record.method, record.seed): record.scores for record in records}
    rows = pd.read_csv(DEVELOPMENT / "summary.csv").set_index("method")
    page = (ROOT / "docs/treeq.md").read_text()

    def cells(method, chosen):
        pairs = [
            paired_difference(scores[method, seed]["fd"], scores[chosen, seed]["fd"])
            for seed in (100, 101)
        ]
        mean = sum(own for own, _ in pairs) / 2
        # Seeds are independent.
        half = math.sqrt(sum(own**2 for _, own in pairs)) / 2
        row = rows.loc[method]
        delta = "" if method == chosen else f"{mean:+.3f} ±{half:.3f}"
        return [f"{row.fd:.3f}", delta, f"{row.psnr:.1f}", f"{1e3 * row.output_mse:.2f}"]

    every = {method for method, _ in scores} - {"full-precision"}
    assert {*FORMATS.values(), *TUNERS.values()} == every
    for text, method in FORMATS.items():
        row = rows.loc[method]
        costs = [f"{row.bitops / 1e9:.3f}", f"{row.bytes / 1e6:.2f}"]
        line = " | ".join([text, *cells(method, "awq-gptq"), *costs])
        assert f"| {line} |".replace("|  |", "| |") in page
    for text, method in TUNERS.items():
        line = " | ".join([text, *cells(method, "peft-span-10")])
        assert f"| {line} |".replace("|  |", "| |") in page
    assert f"Full precision has an FD of {rows.fd['full-precision']:.3f}" in " ".join(page.split())


def test_the_page_quotes_ten_minutes_of_training():
    folder = ROOT / "leaderboards/tuning"
    rows = pd.read_csv(folder / "leaderboard.csv").set_index("method")
    page = (ROOT / "docs/tuning.md").read_text()
    plain = rows.loc["gptq-monarch"]
    quoted = {
        "none": "gptq-monarch",
        "`span: 1`, uniform weighting": "gptq-monarch-peft-single",
        "`span: 10`, balanced weighting": "gptq-monarch-peft",
    }
    assert set(quoted.values()) == set(rows.index) - {"full-precision"}
    for text, method in quoted.items():
        row, cells = rows.loc[method], [text]
        assert row.bitops == plain.bitops
        if method == "gptq-monarch":
            cells += ["", ""]
        else:
            (path,) = folder.glob(f"traces/*__{method}__*.tuning.parquet")
            loss = pd.read_parquet(path).set_index("step").held_out_loss
            cells += [f"{loss.index[-1]:,}", f"{loss.iloc[0]:.3g} → {loss.min():.3g}"]
        for name in ("noise_mse", "output_mse"):
            factor = "" if method == "gptq-monarch" else f"x{row[name] / plain[name]:.2f}"
            cells += [f"{1e3 * row[name]:.1f}", factor]
        line = " | ".join([*cells, f"{row.psnr:.1f}"])
        assert f"| {line} |".replace("|  ", "| ") in page
