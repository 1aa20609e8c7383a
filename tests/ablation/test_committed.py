"""Committed ablations are what their records say."""

from pathlib import Path

import pytest

from mpqbench.core.recipe import TEXTS
from mpqbench.core.registry import discover
from mpqbench.core.yaml_text import read_yaml
from mpqbench.lab.ablation.design import load
from mpqbench.lab.ablation.run import PlannedAblation, read_ablation, write_effects
from mpqbench.records.schema import FULL_METHOD
from mpqbench.report.ablation import write_ablation

LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"
FOLDERS = sorted(path.parent for path in LEADERBOARDS.glob("*/ablation.yaml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_committed_ablations_are_what_their_records_say(folder, tmp_path, undrawn):
    design, registry = load(folder), discover()
    result, _ = read_ablation(design, folder, registry)  # refuses records of other recipes
    cells = PlannedAblation.of(design, registry).cells
    assert all(record.status == "done" for record in result.records)
    names = {cell.recipe.name for cell in cells}
    assert {record.method for record in result.records} == names | {FULL_METHOD}
    write_effects(result, tmp_path)
    write_ablation(result, tmp_path)
    for path in folder.glob("ablation.*"):
        if path.suffix != ".yaml":
            assert (tmp_path / path.name).read_text() == path.read_text(), path.name
    assert (tmp_path / "effects.csv").exists() == (folder / "effects.csv").exists()
    if result.effects is not None:
        assert (tmp_path / "effects.csv").read_text() == (folder / "effects.csv").read_text()
    drawn = {path.name for path in (tmp_path / "figures/ablation").glob("*.png")}
    assert drawn == {path.name for path in (folder / "figures/ablation").iterdir()}


def test_a_factorial_is_that_of_the_file_beside_it():
    folder = LEADERBOARDS / "ablation"
    name = "treeq-factorial"
    recipe = discover().method({"name": name, **read_yaml(folder / f"{name}.yaml")})
    design = load(folder)
    words = {"exclude": {*TEXTS} - {"name"}}  # a file beside records may be older than their words
    assert design.method.model_dump(**words) == recipe.model_dump(**words)
    assert design.factors == recipe.factors
