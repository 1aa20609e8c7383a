"""Precisions without the recipe's branch: how they read, what they cost and what they compute."""

import pytest
import torch
from calibration import Calibration
from tiny_quantizer import FORMATS, W8A8, quantized, quantizer

from mpqbench import api
from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.branches.none import NoBranch
from mpqbench.baselines.roundings.gptq import GPTQ
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Budget, Precision
from mpqbench.core.progress import Reporter
from mpqbench.core.recipe import BARE_NEIGHBOURS, Recipe
from mpqbench.core.settings import validate
from mpqbench.cost.count import CountOptions, count
from mpqbench.dit.groups import layer_groups
from mpqbench.quant.planned import branch_operators
from mpqbench.search.arrays import Measure
from mpqbench.search.budget_costs import choices_by_group, measures, parse_choices
from mpqbench.search.groups import SearchableGroup

BRANCH = LowRank(rank=1, bits=8, weighted=True)


def test_neighbours_may_be_bare():
    both = parse_choices([BARE_NEIGHBOURS], Budget.parse("W2A2"))
    assert set(map(str, both)) == {"W2A2-", "W2A3-", "W3A2-", "W3A3-"}
    with pytest.raises(BenchError, match="or write neighbours or neighbours-"):
        validate(Recipe, {"name": "x", "choices": ["neighbour-"]}, "here")


def test_choices_are_in_the_order_of_their_price_and_twins_go_where_there_is_no_branch():
    own = tuple(map(Precision.parse, ["W2A2", "W2A2-", "W2A3-", "W2A4-"]))
    prices = {p: p.weight_bits * p.activation_bits + (0 if p.bare else 3) for p in own}
    table = {"with": prices, "without": prices}
    found = choices_by_group(own, Measure("bitops", "BitOPs", table, 9.0), {"with"}, table)
    assert list(map(str, found["with"])) == ["W2A2-", "W2A3-", "W2A2", "W2A4-"]
    assert list(map(str, found["without"])) == ["W2A3-", "W2A2", "W2A4-"]


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


def test_only_what_is_not_bare_has_a_branch_and_is_charged_for_one(model):
    groups = layer_groups(model)
    names = [group.name for group in groups if group.searchable]
    pair = Precision.parse("W3A4"), Precision.parse("W3A4-")
    own = {name: pair[at % 2] for at, name in enumerate(names)}
    known = Calibration(model, groups)
    with quantized(model, changes=own, branch=BRANCH, layer_data=known.layer) as made:
        for group in groups:
            for path in group.layers:
                has = made.layers[path].branch is not None
                assert has == (own.get(group.name) == pair[0])
    planned = branch_operators(BRANCH, model, groups)
    (bitops,) = measures(model, groups, Budget.parse("W3A4"), pair, branches=planned)
    whole = own | {g.name: W8A8 for g in groups if not g.searchable}
    report = count(model, groups, whole, CountOptions(**FORMATS, extra=made.operators))
    counted = sum(bitops.table[name][own[name]] for name in names)
    assert counted == report.bitops_linear + report.branch_bitops
    assert report.branch_bitops > 0


def test_a_group_without_its_branch_is_that_of_a_recipe_without_branches(model):
    """Asked for in any order: what was rounded beside a branch is not what stands alone."""
    groups = layer_groups(model)
    known = Calibration(model, groups)

    def at(branch, *texts):
        own = quantizer(branch=branch, rounding=GPTQ(), layer_data=known.layer)
        group = SearchableGroup(model, groups[1], own)
        return [group.at(Precision.parse(text)) for text in texts]

    beside, bare = at(BRANCH, "W3A4", "W3A4-")
    (plain,) = at(NoBranch(), "W3A4")
    assert torch.equal(bare.weight, plain.weight)
    assert not torch.equal(beside.weight, plain.weight)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bare(x), plain(x))
    assert not torch.equal(beside(x), plain(x))


SUITE = """
protocol: {base: smoke, images: 4, steps: 2, micro_batch: 4, calibration: 4, features: none}
budgets: [W2A2, W3A3]
methods:
  - &own {base: rtn, name: free, branch: {name: low-rank, rank: 1, bits: 8},
     searcher: {name: tss, keep: 2}, choices: [neighbours, neighbours-]}
  - {<<: *own, name: forced, choices: [neighbours]}
  - {<<: *own, name: uniform, searcher: uniform}
  - {<<: *own, name: branchless, branch: none}
"""


def test_a_search_decides_which_groups_have_a_branch(tiny_folder, tmp_path):
    suite, out = tmp_path / "suite.yaml", tmp_path / "out"
    suite.write_text(SUITE, encoding="utf-8")
    own = api.run(str(suite), models=[str(tiny_folder)], out=out, reporter=Reporter())
    records = {(record.method, record.budget): record for record in own}
    assert records["free", "W2A2"].allocation.counts == {"W2A2-": 8}
    assert records["free", "W2A2"].costs.branch_bitops == 0
    assert records["forced", "W2A2"].status == "infeasible"
    assert "choices without them, like W2A2-" in records["forced", "W2A2"].reason
    assert records["uniform", "W3A3"].allocation.counts == {"W3A3-": 8}
    counts = records["branchless", "W3A3"].allocation.counts
    assert not any(text.endswith("-") for text in counts)
    assert all(record.costs.satisfied for (m, _), record in records.items() if m == "free")
