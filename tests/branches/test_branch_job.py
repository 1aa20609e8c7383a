"""A branch inside a run: its budget, its record, its allocation."""

import json

import pytest

from mpqbench import api
from mpqbench.core.progress import Reporter

SUITE = """
protocol: {base: smoke, images: 4, steps: 2, micro_batch: 4, calibration: 4, features: none}
budgets: [W4A4]
methods:
  - rtn
  - {base: rtn, name: outside, branch: {name: low-rank, rank: 1, bits: 8}, branch_in_budget: false}
  - {base: rtn, name: inside, branch: {name: low-rank, rank: 1, bits: 8}}
  - {base: rtn, name: too-large, branch: {name: low-rank, rank: 4}}
  - {base: rtn, name: searched, branch: {name: monarch, like_rank: 1, bits: 8},
     searcher: {name: random, draws: 6}, choices: [W2A3, W3A3]}
  - {base: svdquant, name: svdquant-8, weight_format: {granularity: group, group: 8},
     activation_format: {granularity: token-group, group: 8}}
"""


@pytest.fixture(scope="module")
def records(tiny_folder, tmp_path_factory):
    """Records by method."""
    folder = tmp_path_factory.mktemp("branch")
    (folder / "suite.yaml").write_text(SUITE, encoding="utf-8")
    suite, out = str(folder / "suite.yaml"), folder / "out"
    api.run(suite, models=[str(tiny_folder)], out=out, reporter=Reporter())
    texts = [path.read_text(encoding="utf-8") for path in (out / "records").glob("*.json")]
    return {record["method"]: record for record in map(json.loads, texts)}


def test_outside_the_budget_the_layers_have_all_of_it(records):
    plain, own = records["rtn"]["costs"], records["outside"]["costs"]
    assert records["outside"]["allocation"]["counts"] == {"W4A4": 8}
    assert own["satisfied"]
    assert own["bitops_linear"] == plain["bitops_linear"]
    assert own["bitops"] - plain["bitops"] == own["overhead"]["branch"] >= own["branch_bitops"] > 0
    assert own["bytes"] - plain["bytes"] == own["branch_bytes"] > 0
    assert plain["branch_bitops"] == plain["branch_bytes"] == 0


def test_inside_the_budget_the_layers_have_the_rest(records):
    limit = records["rtn"]["costs"]["bitops_linear"]
    for method in ("inside", "searched"):
        costs = records[method]["costs"]
        assert costs["satisfied"]
        assert 0 < costs["branch_bitops"] <= limit - costs["bitops_linear"]
    assert "W4A4" not in records["inside"]["allocation"]["counts"]


def test_a_branch_that_leaves_nothing_says_so(records):
    record = records["too-large"]
    assert record["status"] == "infeasible"
    # Rank 4 of widths 16 and 64 on 16 tokens, 256 BitOPs each.
    bitops = 2 * 4 * (4 * 32 + 2 * 80) * 16 * 256
    assert f"the branches alone take {bitops:,} BitOPs" in record["reason"]
    assert "branch_in_budget: false" in record["reason"]


def test_svdquant_runs_and_counts_both_readings(records):
    record = records["svdquant-8"]
    assert record["status"] == "done", record["reason"]
    assert record["costs"]["satisfied"]
    # 1/36 of width 16 is less than one: rank 1.
    # Queries, keys and values share 16 + 3 * 16 numbers.
    assert record["costs"]["branch_bitops"] == 2 * (64 + 32 + 2 * 80) * 16 * 256
