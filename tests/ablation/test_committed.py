"""Committed ablations are what their records say, and the README quotes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mpqbench.ablation.design import load
from mpqbench.ablation.results import Results
from mpqbench.ablation.sweeps import cells_of
from mpqbench.recipe import read_yaml
from mpqbench.records.schema import FULL_METHOD
from mpqbench.records.store import RecordStore
from mpqbench.registry import discover

LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"
FOLDERS = sorted(path.parent for path in LEADERBOARDS.glob("*/ablation.yaml"))
FOLDER = LEADERBOARDS / "ablation"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_committed_ablations_are_what_their_records_say(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mpqbench.report.style.DPI", 60)
    found = Results.of(load(folder), folder, discover())  # refuses records of other recipes
    cells = cells_of(found.sweeps) if found.plan is None else found.plan.cells
    records = [record for batch in found.batches for record in batch]
    assert all(record.status == "done" for record in records)
    assert {r.method for r in records} == {cell.recipe.name for cell in cells} | {FULL_METHOD}
    found.write(tmp_path)
    for path in folder.glob("ablation.*"):
        if path.suffix != ".yaml":
            assert (tmp_path / path.name).read_text() == path.read_text(), path.name
    assert (tmp_path / "effects.csv").exists() == (folder / "effects.csv").exists()
    if found.plan is not None:
        assert (tmp_path / "effects.csv").read_text() == (folder / "effects.csv").read_text()
    drawn = {path.name for path in (tmp_path / "figures/ablation").glob("*.png")}
    assert drawn == {path.name for path in (folder / "figures/ablation").iterdir()}


def test_the_factorial_is_that_of_the_file_beside_it():
    registry = discover()
    data = {"name": "treeq-factorial", **read_yaml(FOLDER / "treeq-factorial.yaml")}
    recipe, design = registry.method(data), load(FOLDER)
    assert design.method == recipe.model_copy(update={"factors": {}})
    assert design.factors == recipe.factors


def test_the_readme_quotes_the_ablation():
    effects = pd.read_csv(FOLDER / "effects.csv")
    effects = effects[effects.kind == "contrast"].set_index(["response", "factor", "level"])
    quoted = {
        "no training → `peft`: branch, scales, zero points, biases": ("tuner", "peft"),
        "Monarch branch (GMB) → none": ("branch", "none"),
        "Monarch branch → low rank of the same bytes": ("branch", "low-rank"),
        "noisy environment (ENG) → clean": ("environment", "clean"),
        "tree search (TSS) → integer program": ("search", "ilp"),
        "tree search → uniform precision": ("search", "uniform"),
    }
    text = (FOLDER.parents[1] / "README.md").read_text()
    for words, key in quoted.items():
        fd, *errors = (effects.loc[(r, *key)] for r in ("fd", "output_mse", "noise_mse"))
        interval = f"[{fd.low:.2f}, {fd.high:.2f}]"
        ratios = " | ".join(f"x{error.effect:.2f}" for error in errors)
        assert f"| {words} | x{fd.effect:.2f} {interval} | {ratios} |" in text
    readme = " ".join(text.split())
    cells = pd.read_csv(FOLDER / "ablation.csv")
    full, others = cells[cells.budget == "FP"].fd.item(), cells[cells.budget == "W3A3"].fd
    spread = f"an FD of {full:.2f}, the cells {others.min():.2f} to {others.max():.2f}"
    assert spread in readme
    searched = [
        sum(count for precision, count in r.allocation.counts.items() if precision[:2] == "W2")
        for r in RecordStore(FOLDER).read_all()
        if r.budget == "W3A3" and ".uniform." not in r.method
    ]
    assert f"searches put {min(searched)} to {max(searched)} of 48 groups at W2" in readme
    cells = cells[cells.budget == "W3A3"]
    means = np.log(cells.fd).groupby([cells.branch, cells.tuner]).mean().unstack()
    ahead, level = np.exp(means.loc["low-rank"] - means.loc["monarch"])[["ptq", "peft"]]
    assert f"a low rank is ahead (x{ahead:.2f}), with it they are level (x{level:.2f})" in readme
    # cells of `uniform` that differ in the environment alone are one measurement
    trained = cells[cells.tuner == "peft"].drop_duplicates("fd")
    assert (trained.fd_delta < 0.005).sum() == 3
    assert "Three of the trained cells come within 0.005 of full precision" in readme
