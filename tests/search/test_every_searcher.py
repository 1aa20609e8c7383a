"""What every searcher keeps to: budget, allowance, determinism, optima of small problems."""

import numpy as np
import pytest
from small_problems import (
    BUDGETS,
    GRID,
    SIX,
    chain,
    noisy,
    of_scores,
    opposed,
    scores_of,
    table_score,
    two_limits,
)

from mpqbench.baselines.searchers.clado import CLADO
from mpqbench.baselines.searchers.closed_form import ClosedForm
from mpqbench.baselines.searchers.dp import DynamicProgramming
from mpqbench.baselines.searchers.evolutionary import Evolutionary
from mpqbench.baselines.searchers.greedy import Greedy
from mpqbench.baselines.searchers.ilp import ILP
from mpqbench.baselines.searchers.ilp_verify import ILPVerify
from mpqbench.baselines.searchers.random_search import RandomSearch
from mpqbench.baselines.searchers.tpe import TPE
from mpqbench.baselines.searchers.uniform import Uniform
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import Precision
from mpqbench.methods.treeq.tss import TSS
from mpqbench.search.feasible import cheapest_feasible
from mpqbench.search.tabular import enumerate_best

TABLE = {
    "ilp": ILP(),
    "dp": DynamicProgramming(),
    "greedy": Greedy(),
    "demote": Greedy("demote"),
    "closed-form": ClosedForm(),
}
JOINT = {
    "random": RandomSearch(draws=200, batch=16),
    "rescore": Greedy(rescore=True),
    "rescore-demote": Greedy("demote", rescore=True),
    "ilp+verify": ILPVerify(proposals=12),
    "ilp+verify-scores": ILPVerify(proposals=6, vary="scores"),
    "clado": CLADO(project=False),
    "evolutionary": Evolutionary(population=20, generations=8),
    "evolutionary-ilp": Evolutionary(population=10, generations=4, first="ilp"),
    "tpe": TPE(trials=50, startup=20),
    "tss": TSS(),
    "tss-cheapest": TSS(keep=4, anchor="cheapest", drop="pareto"),
}
EVERY = {**TABLE, **JOINT, "uniform": Uniform()}
every = pytest.mark.parametrize("name", EVERY)
joint = pytest.mark.parametrize("name", JOINT)
DRAWN = ("random", "evolutionary", "tpe")  # from the generator of the problem


def several(problem):
    return np.isfinite(problem.limits()).sum() > 1


@every
def test_the_budget_is_kept_and_two_runs_are_alike(name):
    for seed in range(6):
        problem, again = noisy(seed), noisy(seed)
        if name == "dp" and several(problem):
            continue
        try:
            least = enumerate_best(problem)[1]
        except Infeasible:
            with pytest.raises(Infeasible, match=f"budget {problem.budget}"):
                EVERY[name].search(problem)
            continue
        try:
            found = EVERY[name].search(problem)
        except Infeasible:
            assert name == "uniform"
            continue
        assert problem.fits(found)
        assert list(found) == list(problem.groups)
        assert table_score(problem, found) >= least - 1e-9 * abs(least)
        assert EVERY[name].search(again) == found
        assert scores_of(again) == scores_of(problem)


@every
@pytest.mark.parametrize("allowance", [0, 1, 15, 16, 17, 40])
def test_the_allowance_is_kept_and_there_is_an_answer(name, allowance):
    problem = chain(allowance=allowance)
    found = EVERY[name].search(problem)
    assert problem.spent <= allowance
    assert problem.fits(found)
    if allowance == 0 and name not in ("random", "uniform"):
        assert found == cheapest_feasible(problem)
    if name in TABLE:
        assert (found == cheapest_feasible(problem)) == (allowance < 16)
        assert problem.spent == (0 if allowance < 16 else 16)
    if name in DRAWN and allowance:
        assert problem.spent == allowance
        assert found == problem.best()


@every
def test_without_a_bound_the_best_scores_win(name):
    problem = chain(1 if name in DRAWN else 3, choices=SIX, budget="FP", coupling=0)
    assert set(EVERY[name].search(problem).values()) == {Precision(4, 4)}


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"dp", "uniform"}))
def test_several_limits_hold_at_once(name):
    problem = two_limits()
    found = EVERY[name].search(problem)
    assert problem.fits(found)
    apart = opposed(12)
    assert apart.fits(EVERY[name].search(apart))
    with pytest.raises(Infeasible, match="alone is 8 of 11 activation bits, 8 of 11 weight bits"):
        EVERY[name].search(opposed(11))  # each measure alone could be 8


@pytest.mark.parametrize("name", ["ilp", "dp"])
def test_exact_searchers_reach_the_enumerated_optimum(name):
    for seed in range(30):
        for problem in (
            noisy(seed, whole=name == "dp", several=name != "dp"),
            chain(1 + seed % 4, seed, SIX, str(BUDGETS[seed % 3])),
        ):
            try:
                least = enumerate_best(problem)[1]
            except Infeasible:
                continue
            found = TABLE[name].search(problem)
            assert problem.fits(found)
            assert table_score(problem, found) == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("name", sorted(JOINT.keys() - {"rescore", "rescore-demote"}))
def test_joint_searchers_find_the_optimum_of_a_small_problem(name):
    for seed in (1, 3):
        problem = chain(3, seed)
        found = JOINT[name].search(problem)
        best = enumerate_best(chain(3, seed), joint=True)[1]
        assert problem.score(found) == pytest.approx(best)


@pytest.mark.parametrize("name", ["ilp", "dp", "greedy", "demote"])
def test_of_equal_scores_the_cheapest_choice_is_taken(name):
    problem = of_scores(dict.fromkeys("ab", np.ones(6)), SIX, BUDGETS[1])
    assert set(TABLE[name].search(problem).values()) == {SIX[0]}


@pytest.mark.parametrize("name", TABLE)
def test_a_full_size_problem_uses_its_budget(name):
    problem = chain(112, 0, GRID, "W4A4", coupling=0)
    found = TABLE[name].search(problem)
    assert 0.99 * problem.limit() < problem.cost(found) <= problem.limit()
    least = table_score(problem, TABLE["dp"].search(problem))
    uniform = table_score(problem, dict.fromkeys(problem.groups, Precision(4, 4)))
    score = table_score(problem, found)
    assert score == pytest.approx(least, rel=1e-12 if name in ("ilp", "dp") else 0.2)
    assert score < 0.8 * uniform


@pytest.mark.parametrize("name", [*TABLE, "ilp+verify", "rescore"])
def test_a_score_that_is_not_finite_is_named(name):
    problem = chain(2)
    problem.scorer.additive[problem.groups[1]][2] = np.nan
    with pytest.raises(BenchError, match=r"table of group blocks\.0\.attn\.out has a score"):
        EVERY[name].search(problem)


@pytest.mark.parametrize(
    ("searcher", "parameters", "message"),
    [
        (CLADO, {"reach": 0}, "reach must be greater than 0, not 0"),
        (Evolutionary, {"crossovers": 0, "mutations": 0}, "must not both be 0"),
        (ILP, {"split": {"a": ["attn"]}}, "split: there must be two parts, not 1"),
        (TSS, {"window": [1.1, 2]}, r"window\[0\] must be at most 1, not 1.1"),
    ],
)
def test_mistakes_in_parameters_are_named(searcher, parameters, message):
    with pytest.raises(BenchError, match=message):
        searcher(**parameters)
