"""The committed ablation is what its records say."""

from __future__ import annotations

from pathlib import Path

from mpqbench.ablation.factors import default_factors
from mpqbench.ablation.plan import factorial
from mpqbench.ablation.run import write_plan
from mpqbench.recipe import read_yaml
from mpqbench.records.store import RecordStore
from mpqbench.registry import discover

FOLDER = Path(__file__).parents[2] / "leaderboards/ablation"
METHOD = "treeq-factorial"


def test_the_committed_ablation_is_what_its_records_say(tmp_path):
    registry = discover()
    recipe = registry.method({"name": METHOD, **read_yaml(FOLDER / f"{METHOD}.yaml")})
    plan = factorial(recipe, default_factors(recipe), registry)
    records = RecordStore(FOLDER).read_all()
    assert {r.method for r in records} == {c.recipe.name for c in plan.cells} | {"full-precision"}
    assert all(record.status == "done" for record in records)
    write_plan(plan, [records], tmp_path, "log")
    for name in ("ablation.csv", "ablation.md", "ablation.tex", "effects.csv"):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text(), name
    drawn = {path.name for path in (tmp_path / "figures/ablation").glob("*.png")}
    assert drawn == {path.name for path in (FOLDER / "figures/ablation").iterdir()}
