"""An allocation exactly at a limit fits, in any order of groups, and the count agrees."""

from fractions import Fraction

import numpy as np
import pytest

from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.cost.count import count
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.budget_costs import CountedProblem
from mpqbench.search.feasible import least
from mpqbench.search.knapsack import solve
from mpqbench.search.measures import Measure
from mpqbench.search.tabular import tabular_problem

CHOICES = [Precision(w, a) for w in (2, 3, 4, 8) for a in (3, 4)]
MODEL = tiny_transformer("meta")
GROUPS = layer_groups(MODEL)


def _report(allocation):
    whole = {g.name: allocation.get(g.name, FULL) for g in GROUPS}
    formats = {"weight_format": WeightFormat(), "activation_format": ActivationFormat()}
    return count(MODEL, GROUPS, whole, **formats)


def _limits(budget):
    return CountedProblem(MODEL, GROUPS, Budget.parse(budget), CHOICES).limits()


@pytest.mark.parametrize("precision", CHOICES, ids=str)
def test_uniform_precision_fits_its_own_budget_and_nothing_less(precision):
    report = _report({g.name: precision for g in GROUPS if g.searchable})
    exact = f"{precision}+{precision.weight}b+{report.bytes / 1e6}MB"
    less = [f"{precision.weight - 1e-9:.9f}b", f"{(report.bytes - 1) / 1e6}MB"]
    rng = np.random.default_rng(0)
    for text in (exact, *less):
        budget = Budget.parse(text)
        problem = CountedProblem(MODEL, GROUPS, budget, CHOICES)
        arrays = Arrays.of(problem)
        for _ in range(5):
            order = rng.permutation(problem.groups)
            assert problem.fits(dict.fromkeys(order, precision)) == (text == exact)
        own = [problem.choices(group).index(precision) for group in problem.groups]
        assert arrays.fits(own) == (text == exact)
        assert report.satisfied(budget) == (text == exact)


def test_every_mean_of_weight_bits_agrees_with_the_count():
    """The budget is the mean itself, as a float, and its neighbours on either side."""
    rng = np.random.default_rng(1)
    names = [g.name for g in GROUPS if g.searchable]
    for _ in range(12):
        allocation = {name: CHOICES[rng.integers(len(CHOICES))] for name in names}
        report = _report(allocation)
        mean = report.weight_bits
        for bits, fits in (
            (mean, True),
            (np.nextafter(mean, 9), True),
            (np.nextafter(mean, 0), False),
        ):
            budget = Budget(FULL, weight_bits=float(bits))
            assert report.satisfied(budget) == fits
            assert CountedProblem(MODEL, GROUPS, budget, CHOICES).fits(allocation) == fits


def test_limits_are_the_largest_whole_numbers_within_the_budget():
    weights = 6144
    for tenths in range(20, 81, 3):
        *_, limit = _limits(f"{tenths / 10}b")
        assert limit == Fraction(tenths, 10) * weights // 1
    plain = _report(uniform_allocation(GROUPS, FULL, FULL))
    rest = sum(op.bytes for op in plain.operators if not op.searchable)
    assert _limits("0.0215004MB")[-1] == 21500 - rest


def test_sums_do_not_depend_on_the_order_of_groups():
    costs = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 1e16, "e": -1e16}
    table = {group: {CHOICES[0]: cost} for group, cost in costs.items()}
    measure = Measure("seconds", "seconds", table, 0.6)
    problem = tabular_problem(
        dict.fromkeys(costs, 1.0), CHOICES[:1], None, Budget.parse("FP"), more=[measure]
    )
    forward = dict.fromkeys(costs, CHOICES[0])
    backward = dict.fromkeys(reversed(list(costs)), CHOICES[0])
    assert measure.of(forward) == measure.of(backward) == 0.6
    assert problem.fits(forward)
    assert problem.fits(backward)
    assert Arrays.of(problem).total([0] * 5).tolist() == [30.0, 0.6]
    assert least(problem).tolist() == [30.0, 0.6]


def test_the_integer_program_spends_a_limit_to_the_last_bit():
    """More bits score better, so the optimum of a budget of 3 bits has 3 on average."""
    problem = CountedProblem(MODEL, GROUPS, Budget.parse("W8A4+3b"), CHOICES)
    arrays = Arrays.of(problem)
    scores = [-costs[:, 1] for costs in arrays.costs]
    found = solve(scores, arrays)
    assert arrays.total(found)[1] == arrays.limits[1] == 3 * 6144
