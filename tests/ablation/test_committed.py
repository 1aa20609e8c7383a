"""The committed ablation is what its records say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mpqbench.ablation.factors import default_factors
from mpqbench.ablation.plan import factorial
from mpqbench.ablation.run import write_plan
from mpqbench.recipe import TEXTS, Recipe, read_yaml
from mpqbench.records.store import RecordStore
from mpqbench.registry import discover

FOLDER = Path(__file__).parents[2] / "leaderboards/ablation"
METHOD = "treeq-factorial"


def test_the_committed_ablation_is_what_its_records_say(tmp_path):
    registry = discover()
    recipe = registry.method({"name": METHOD, **read_yaml(FOLDER / f"{METHOD}.yaml")})
    plan = factorial(recipe, default_factors(recipe), registry)
    records = RecordStore(FOLDER).read_all()
    # What a recipe had no word for when it was measured is at its default.
    measured = {record.method: Recipe.model_validate(record.recipe) for record in records}
    result = {"exclude": {*TEXTS} - {"name"}}
    for cell in plan.cells:
        assert measured[cell.recipe.name].model_dump(**result) == cell.recipe.model_dump(**result)
    assert {r.method for r in records} == {c.recipe.name for c in plan.cells} | {"full-precision"}
    assert all(record.status == "done" for record in records)
    write_plan(plan, [records], tmp_path, "log")
    for name in ("ablation.csv", "ablation.md", "ablation.tex", "effects.csv"):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text(), name
    drawn = {path.name for path in (tmp_path / "figures/ablation").glob("*.png")}
    assert drawn == {path.name for path in (FOLDER / "figures/ablation").iterdir()}


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
