"""An ablation read again from its records: what it keeps, and which records it refuses."""

import pandas as pd
import pytest
from ablation_records import METHOD, RATIOS, record, records_of, small_plan

from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import Recipe
from mpqbench.core.registry import discover
from mpqbench.lab.ablation.design import Design, load, parse_factors
from mpqbench.lab.ablation.run import PlannedAblation, read_ablation, write_effects
from mpqbench.records.store import RecordStore
from mpqbench.report.ablation import cell_table


def kept(folder, records, plan=None):
    """``folder`` with a design and records."""
    plan = plan or small_plan()
    Design(method=METHOD, factors=plan.factors, full=plan.full).save(folder)
    for own in records:
        RecordStore(folder).write(own)
    return folder


def again(folder):
    return read_ablation(load(folder), folder, discover())[0]


def test_a_design_comes_back_with_its_levels(tmp_path):
    method = discover().method("treeq")
    texts = (
        "environment=eng|off: clean|0.5: {name: eng, noise: 0.5}|1e-3: {name: eng, noise: 0.001}",
        "branch=null: none|on: monarch",
    )
    factors = parse_factors(texts, method)
    design = Design(method=method, factors=factors, scale="linear", full=False)
    design.save(tmp_path)
    found = load(tmp_path)
    assert found.model_dump() == design.model_dump()
    assert list(found.factors["environment"]) == ["eng", "off", "0.5", "1e-3"]
    plans = [PlannedAblation.of(each, discover()).plan for each in (design, found)]
    assert plans[0].base == plans[1].base == {"environment": "eng", "branch": "on"}
    assert plans[0].cells == plans[1].cells
    assert load(tmp_path / "nothing") is None


def test_an_interrupted_ablation_is_reported_as_far_as_it_came(tmp_path, undrawn):
    plan = small_plan()
    records = records_of(plan)
    early = [r for r in records if r.is_full_precision or ".tss." in r.method]
    result = again(kept(tmp_path / "run", early))
    rows = cell_table(result.cells, result.batches).rows
    assert [row["method"] for row in rows] == ["full-precision", "mine.tss.eng", "mine.tss.clean"]
    (path,) = write_effects(result, tmp_path / "out")
    effects = pd.read_csv(path).query("response == 'fd'")
    alone = effects[effects.kind == "alone"].set_index("level")
    assert alone.effect["clean"] == pytest.approx(RATIOS["clean"])
    assert alone.effect["ilp"] != alone.effect["ilp"]  # NaN
    assert "mine.ilp.eng" in alone.reason["ilp"]


def test_budgets_that_were_run_apart_are_in_the_order_of_a_leaderboard(tmp_path, undrawn):
    cells = {cell.recipe.name: cell.recipe for cell in small_plan().cells}
    found = [record("full-precision", Recipe(name="full-precision"), "FP", mse=None, fd=None)]
    for budget in ("W2A3", "W4A4", "W3A3"):
        found += [record(n, r, budget, mse=0.1, fd=(1, [1] * 20)) for n, r in cells.items()]
    result = again(kept(tmp_path / "run", found))
    budgets = [row["budget"] for row in cell_table(result.cells, result.batches).rows]
    assert list(dict.fromkeys(budgets)) == ["FP", "W4A4", "W3A3", "W2A3"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"protocol": {"images": 500}}, r"__s1\.json has another model or protocol than m__f"),
        ({"model": "n"}, r"__s1\.json has another model or protocol than m__f"),
        ({"recipe": {"evaluations": 5}}, r"another recipe than ablation\.yaml gives 'mine\."),
    ],
)
def test_other_records_are_no_part_of_it(tmp_path, changes, sentence):
    *records, last = records_of(small_plan())
    for name, own in changes.items():
        old = getattr(last, name)
        last = last.model_copy(update={name: {**old, **own} if isinstance(own, dict) else own})
    with pytest.raises(BenchError, match=sentence):
        again(kept(tmp_path, [*records, last]))


def test_full_precision_alone_is_no_ablation(tmp_path):
    records = [own for own in records_of(small_plan()) if own.is_full_precision]
    with pytest.raises(BenchError, match="has no record of any cell"):
        again(kept(tmp_path, records))
