"""A search that cannot do what its name says is refused, or its record says what was given up."""

import math
import re
from contextlib import suppress

import numpy as np
import pytest
from tiny_quantizer import W8A8, calibration, quantizer

from mpqbench import api
from mpqbench.conformance.models import tiny_transformer
from mpqbench.contracts import Searcher, plugin
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Allocation, Budget, Precision
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover
from mpqbench.dit.groups import layer_groups
from mpqbench.search.answer import find_answer
from mpqbench.search.arrays import Arrays
from mpqbench.search.engine import Engine
from mpqbench.search.feasible import fitting_uniforms
from mpqbench.search.knapsack import solve
from mpqbench.search.network import FullPrecision
from mpqbench.search.setup import EngineSettings
from mpqbench.search.tabular import TabularScorer, additive_score, enumerate_best, tabular_problem

CHOICES = [Precision(w, a) for w in (2, 3, 4) for a in (3, 4)]
QUICK = {
    "ilp+verify": {"proposals": 4},
    "random": {"draws": 30},
    "tpe": {"trials": 12, "startup": 6},
    "evolutionary": {"population": 8, "generations": 3},
}
REGISTRY = discover()
SEARCHERS = sorted(e.name for e in REGISTRY.entries("searcher") if e.name != "given")


def _searcher(name, **parameters):
    return REGISTRY.create(
        "searcher", PluginChoice(name=name, params=QUICK.get(name, {}) | parameters)
    )


def _coupled(seed, groups=5, strength=4.0):
    """A problem whose pairs of groups interact as strongly as the groups count alone, or more."""
    rng = np.random.default_rng(seed)
    own = sorted(CHOICES, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits))
    names = [f"g{number}" for number in range(groups)]
    shape = (len(own), len(own))
    additive = {g: rng.lognormal(0, 1) * rng.random(len(own)) for g in names}
    pairs = {
        (a, b): strength * rng.normal(size=shape) for at, a in enumerate(names) for b in names[:at]
    }
    scorer = TabularScorer(dict.fromkeys(names, own), additive, pairs)
    macs = {g: float(rng.integers(1, 9)) for g in names}
    problem = tabular_problem(macs, own, scorer, Budget.parse("W3A4"))
    problem.rng = np.random.default_rng(seed)
    return problem


def _engine():
    model = tiny_transformer()
    settings = EngineSettings(adaln=W8A8, batch=4)
    return Engine(model, layer_groups(model), quantizer(), calibration(), settings)


def _least_uniform(problem):
    return problem.score_many(fitting_uniforms(problem)).min()


def test_tree_search_is_never_worse_than_uniform_precision_on_450_coupled_problems():
    for seed in range(450):
        problem = _coupled(seed, groups=3)
        tss = _searcher("tss", keep=2 + seed % 3)
        least = _least_uniform(_coupled(seed, groups=3))
        if seed % 3 == 0:
            problem.allowance = tss.needs(problem) + seed % 7
        found = tss.search(problem)
        assert problem.spent <= problem.allowance
        problem.allowance = math.inf
        score = problem.score(found)
        assert score <= least + 1e-9
        if seed % 15 == 0:
            assert score >= enumerate_best(_coupled(seed, groups=3), joint=True)[1] - 1e-9


@pytest.mark.parametrize("name", SEARCHERS)
def test_no_answer_is_worse_than_uniform_precision_by_its_own_scores(name):
    for seed in range(8):
        problem = _coupled(seed)
        searcher = _searcher(name)
        if seed % 2:
            problem.allowance = searcher.needs(problem)
        found = find_answer(searcher, problem, name)
        assert problem.fits(found)
        assert problem.spent <= problem.allowance
        if not searcher.scored:
            continue
        problem.allowance = math.inf
        if problem.trace.rows:
            assert problem.joint_score(found) <= _least_uniform(_coupled(seed)) + 1e-9
            continue
        table = problem.table()
        sums = [additive_score(problem, table, each) for each in fitting_uniforms(problem)]
        assert additive_score(problem, table, found) <= min(sums) + 1e-9


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_smaller_allowance_than_needed_is_refused_with_both_numbers(name):
    problem, searcher = _coupled(0), _searcher(name)
    need = searcher.needs(problem) if searcher.scored else 0
    if not need:
        pytest.skip("it needs no scores")
    problem.allowance = need - 0.5
    with pytest.raises(
        BenchError, match=f"'{re.escape(name)}' needs at least {need:g} .*has {need - 0.5:g}"
    ):
        find_answer(searcher, problem, name)
    assert problem.spent == 0


@plugin
class _Cheapest(Searcher):
    """Takes the table, or a joint score, and answers with the cheapest choices all the same."""

    joint: bool = False

    def search(self, problem):
        found = Allocation({group: problem.choices(group)[0] for group in problem.groups})
        problem.score(found) if self.joint else problem.table()
        return found


@pytest.mark.parametrize("joint", [False, True])
def test_an_answer_that_its_own_scores_call_worse_is_replaced_and_that_is_said(joint):
    own = [Precision(2, 3), Precision(3, 3), Precision(3, 4)]
    scorer = TabularScorer(dict.fromkeys("ab", own), dict.fromkeys("ab", np.array([3.0, 2, 1])))
    problem = tabular_problem(dict.fromkeys("ab", 1.0), own, scorer, Budget.parse("W3A4"))
    assert set(find_answer(_Cheapest(joint), problem, "mine").values()) == {Precision(3, 4)}
    (remark,) = problem.remarks
    assert "uniform W3A4 has a lower" in remark
    assert "takes its place" in remark


def test_an_integer_program_that_is_stopped_says_so():
    rng, heard = np.random.default_rng(0), []
    costs = [rng.integers(10**6, 2 * 10**6, size=(30, 3)).astype(float) for _ in range(150)]
    scores = [rng.random(30) for _ in costs]
    limits = np.sum([each.mean(axis=0) for each in costs], axis=0) * 0.8
    choices = tuple(tuple(range(30)) for _ in costs)
    names = tuple(map(str, range(len(costs))))
    arrays = Arrays(names, choices, tuple(costs), limits, heard.append)
    found = None
    with suppress(BenchError):  # where no solution at all was found by then
        found = solve(scores, arrays, time_limit=0.5)
    assert found is None or any("stopped after 0.5 s" in sentence for sentence in heard)


def test_scores_never_take_more_than_their_price():
    own = _engine()
    for group in own.groups:  # each needs a prefix of its own
        before = own.forwards
        own.errors([{group: CHOICES[0]}])
        assert own.forwards - before <= own.price({group: CHOICES[0]}) * (1 + 1e-9)


SUITE = """
protocol: {{base: smoke, images: 4, steps: 2, micro_batch: 8, calibration: 8, features: none}}
budgets: [W4A4]
methods:
  - {{base: rtn, name: mine, searcher: {searcher}, choices: [neighbours], evaluations: {given}}}
"""


@pytest.mark.parametrize("searcher", ["ilp", "dp", "greedy", "closed-form", "tss", "clado"])
def test_a_plan_that_cannot_give_what_a_searcher_needs_is_refused(
    searcher, tiny_folder, tmp_path, mpqbench
):
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.format(searcher=searcher, given=20), encoding="utf-8")
    code, _, error = mpqbench("run", path, "--model", tiny_folder, "-n", "--out", tmp_path / "out")
    assert code == 2
    assert "method 'mine'" in error
    assert f"searcher '{searcher}' needs at least" in error
    assert "has 20" in error
    assert not list(tmp_path.glob("out/records/*"))


def test_a_record_says_what_its_search_gave_up(tiny_folder, tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.format(searcher="tss", given=75), encoding="utf-8")
    for _ in range(2):  # the second search is read from the cache
        _, record = api.run(str(path), models=[str(tiny_folder)], out=tmp_path / "out")
        assert record.status == "done"
        assert record.search_evals <= 75
        assert any("searcher 'tss': the allowance of 75 forwards" in n for n in record.notes)
        (tmp_path / "out" / "records" / f"{record.job}.json").unlink()


@pytest.mark.parametrize("objective", ["fisher", "hessian", "layer-mse", "decoupled"])
def test_a_table_takes_no_more_than_its_objective_declares(objective):
    own = _engine()
    choices = dict.fromkeys(own.groups, CHOICES[:2])
    plugin_of = REGISTRY.create("objective", PluginChoice(name=objective))
    before = own.forwards
    plugin_of.table(FullPrecision(own, choices))
    shares = dict(zip(own.groups, own._share, strict=True))
    declared = plugin_of.table_price(shares, dict.fromkeys(choices, 2))
    assert own.forwards - before == pytest.approx(declared)
