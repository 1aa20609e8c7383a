"""Committed ablations are what their records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpqbench.core.recipe import read_yaml
from mpqbench.core.registry import discover
from mpqbench.lab.ablation.design import load
from mpqbench.lab.ablation.results import Results
from mpqbench.lab.ablation.sweeps import cells_of
from mpqbench.records.schema import FULL_METHOD

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
