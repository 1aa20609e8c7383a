"""The recipes of TreeQ as a whole: what they are, and that they run."""

import pytest
import torch

from mpqbench import api
from mpqbench.contracts import LayerData
from mpqbench.core.progress import Reporter
from mpqbench.core.recipe import TEXTS
from mpqbench.core.registry import discover
from mpqbench.lab.ablation.design import default_factors
from mpqbench.quant.factors import bits_of_rank

SUITE = """
name: treeq
protocol: smoke
budgets: [W4A4]
methods:
  - base: treeq
    name: treeq
    weight_format: &w {granularity: group, group: 8, symmetric: false}
    activation_format: &a {granularity: token-group, group: 8}
    branch: &b {name: monarch, grid: [1, 2], bits: 8}
    choices: &c [W2A3, W3A3, W4A4, W5A5]
    searcher: &s {name: tss, keep: 2}
    correction: &o {name: unbiased, images: 24}
  - base: treeq-peft
    name: treeq-peft
    weight_format: *w
    activation_format: *a
    branch: *b
    choices: *c
    searcher: *s
    correction: *o
    tuner: {name: peft, trajectories: 8, held_out: 4, steps: 4, every: 2, batch: 8, span: 2}
"""


@pytest.fixture(scope="module")
def registry():
    return discover()


def test_tuned_it_differs_in_training_alone(registry):
    plain, tuned = (registry.method(name) for name in ("treeq", "treeq-peft"))
    differing = {k for k, v in plain if k not in TEXTS and getattr(tuned, k) != v}
    assert differing - {"factors"} == {"tuner"}


@pytest.mark.parametrize(("out", "width"), [(128, 128), (384, 128), (512, 128), (128, 512)])
def test_its_branch_is_no_low_rank_in_disguise(registry, out, width):
    """Of one block only, a general Monarch matrix is one: the recipe must pay for more."""
    branch = registry.create("branch", registry.method("treeq").branch)
    assert branch.size(out, width).stored_bits <= bits_of_rank(out, width, 2, 8)
    target = torch.randn(out, width, generator=torch.Generator().manual_seed(0))
    fitted = branch.fit(target, LayerData("layer", 0, 0))
    product = fitted(torch.eye(width))
    assert int(torch.linalg.matrix_rank(product, rtol=0.05)) > 2


def test_factors_are_inherited_and_written_nowhere(registry):
    method = registry.method({"base": "treeq", "name": "mine", "evaluations": 10})
    assert method.factors == registry.method("treeq").factors
    assert default_factors(method) == default_factors(registry.method("treeq"))
    assert "factors" not in method.model_dump()
    own = {"rounding": {"gptq": {}, "nearest": {"rounding": "nearest"}}}
    other = registry.method({"base": "treeq", "name": "mine", "factors": own})
    assert list(default_factors(other)) == ["rounding"]


def test_a_mistake_in_factors_names_the_method(mpqbench, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: treeq\nfactors: {a: {x: {sercher: ilp}, y: {}}}\n", encoding="utf-8")
    code, _, err = mpqbench("ablate", path, "-n", "--out", tmp_path / "out")
    assert code == 2
    assert "sercher" in err
    assert "did you mean 'searcher'" in err


def test_both_run_within_the_budget_with_their_branch(tiny_folder, tmp_path):
    suite, out = tmp_path / "suite.yaml", tmp_path / "out"
    suite.write_text(SUITE, encoding="utf-8")
    settings = {"models": [str(tiny_folder)], "features": "none", "reporter": Reporter()}
    for record in api.run(str(suite), out=out, **settings)[1:]:
        assert record.status == "done", record.reason
        assert record.costs.satisfied
        assert record.costs.branch_bitops > 0
        assert record.search_evals > 0
        assert ("tune" in record.seconds) == (record.method == "treeq-peft")
