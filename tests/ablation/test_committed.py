"""Committed ablations are what their records say, and the README quotes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mpqbench.core.registry import discover
from mpqbench.core.settings import read_yaml
from mpqbench.lab.ablation.design import load
from mpqbench.lab.ablation.results import Results
from mpqbench.lab.ablation.sweeps import cells_of
from mpqbench.records.schema import FULL_METHOD
from mpqbench.records.store import RecordStore

LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"
FOLDERS = sorted(path.parent for path in LEADERBOARDS.glob("*/ablation.yaml"))
FACTORIALS = {"factorial": "treeq-components", "ablation": "treeq-factorial"}
CORRECTED, UNCORRECTED = (LEADERBOARDS / name for name in FACTORIALS)


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


@pytest.mark.parametrize("folder", [CORRECTED, UNCORRECTED], ids=lambda f: f.name)
def test_a_factorial_is_that_of_the_file_beside_it(folder):
    name = FACTORIALS[folder.name]
    recipe = discover().method({"name": name, **read_yaml(folder / f"{name}.yaml")})
    design = load(folder)
    assert design.method == recipe.model_copy(update={"factors": {}})
    assert design.factors == recipe.factors


def effects_of(folder):
    """What is averaged over all other factors, by response, factor and level."""
    effects = pd.read_csv(folder / "effects.csv")
    return effects[effects.kind == "contrast"].set_index(["response", "factor", "level"])


def ratio(effect):
    return f"x{effect.effect:.2f} [{effect.low:.2f}, {effect.high:.2f}]"


def searched_at_w2(folder):
    """Groups at W2 of every model of a search: smallest and largest number."""
    found = [
        sum(count for precision, count in r.allocation.counts.items() if precision[:2] == "W2")
        for r in RecordStore(folder).read_all()
        if r.budget == "W3A3" and ".uniform." not in r.method
    ]
    return min(found), max(found)


def test_the_readme_quotes_both_factorials():
    own, before = effects_of(CORRECTED), effects_of(UNCORRECTED)
    quoted = {
        "no training → `peft`: branch, scales, zero points, biases": ("tuner", "peft"),
        "Monarch branch (GMB) → none": ("branch", "none"),
        "Monarch branch → low rank of the same bytes": ("branch", "low-rank"),
        "noisy environment (ENG) → clean": ("environment", "clean"),
        "tree search (TSS) → integer program": ("search", "ilp"),
        "tree search → uniform precision": ("search", "uniform"),
    }
    text = (LEADERBOARDS.parent / "README.md").read_text()
    for words, key in quoted.items():
        error = own.loc[("noise_mse", *key)]
        fd, old = (effects.loc[("fd", *key)] for effects in (own, before))
        assert f"| {words} | x{error.effect:.2f} | {ratio(fd)} | {ratio(old)} |" in text
    readme = " ".join(text.split())
    words = "an FD of {}, the cells {} to {}.", "full precision has {} there, the cells {} to {}."
    for folder, sentence in zip((CORRECTED, UNCORRECTED), words, strict=True):
        cells = pd.read_csv(folder / "ablation.csv")
        of_cells = cells[cells.budget == "W3A3"].fd
        numbers = cells[cells.budget == "FP"].fd.item(), of_cells.min(), of_cells.max()
        assert sentence.format(*(f"{number:.2f}" for number in numbers)) in readme
    words = "searches put {} to {} of 48 groups at W2", "they now put {} to {} there"
    for folder, sentence in zip((UNCORRECTED, CORRECTED), words, strict=True):
        assert sentence.format(*searched_at_w2(folder)) in readme


def test_the_readme_says_which_cells_are_level_and_what_training_does_to_searches():
    readme = " ".join((LEADERBOARDS.parent / "README.md").read_text().split())
    cells = pd.read_csv(CORRECTED / "ablation.csv")
    # cells of `uniform` that differ in the environment alone are one measurement
    own = cells[cells.budget == "W3A3"].drop_duplicates("fd")
    level = (own.fd_delta.abs() <= own.fd_delta_ci).sum()
    assert f"{level} of the {len(own)} cells are level with full precision" in readme
    took = [r.seconds["correct"] for r in RecordStore(CORRECTED).read_all() if r.budget == "W3A3"]
    assert 15 < np.mean(took) < 25
    assert "A correction takes about twenty seconds" in readme
    logs = np.log(own.fd).groupby([own.search == "uniform", own.tuner]).mean().unstack()
    searched, uniform = np.exp(logs.peft - logs.ptq)
    words = "lowers FD of uniform precision (x{:.2f}) and does not after a search (x{:.2f})"
    assert words.format(uniform, searched) in readme
    effects = pd.read_csv(CORRECTED / "effects.csv")
    joint = effects[(effects.response == "fd") & (effects.kind == "joint")]
    assert (len(joint), ((joint.low > 1) | (joint.high < 1)).sum()) == (13, 2)
    assert "These two of thirteen pairs are beyond their intervals" in readme
