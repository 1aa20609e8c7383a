"""Budgets: what fits is what the count calls satisfied, to the last bit and in any order."""

import numpy as np
import pytest
from counted import counted_problem

from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.core.recipe import NEIGHBOURS
from mpqbench.cost.count import CountOptions, budget_limit, count
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.search.arrays import Arrays, Measure
from mpqbench.search.budget_costs import measures, parse_choices
from mpqbench.search.feasible import least
from mpqbench.search.knapsack import solve
from mpqbench.search.tabular import tabular_problem

CHOICES = [Precision(w, a) for w in (2, 3, 4, 8) for a in (3, 4)]
MODEL = tiny_transformer("meta")
GROUPS = layer_groups(MODEL)


def _report(allocation):
    whole = {g.name: allocation.get(g.name, FULL) for g in GROUPS}
    return count(MODEL, GROUPS, whole, CountOptions(WeightFormat(), ActivationFormat()))


def _satisfied(report, budget):
    return report.satisfied(budget, budget_limit(MODEL, GROUPS, budget))


@pytest.mark.parametrize("precision", CHOICES, ids=str)
def test_uniform_precision_fits_its_own_budget_and_nothing_less(precision):
    report = _report({g.name: precision for g in GROUPS if g.searchable})
    exact = f"{precision}+{precision.weight}b+{report.bytes / 1e6}MB"
    less = [f"{precision.weight - 1e-9:.9f}b", f"{(report.bytes - 1) / 1e6}MB"]
    rng = np.random.default_rng(0)
    for text in (exact, *less):
        budget = Budget.parse(text)
        problem = counted_problem(MODEL, GROUPS, budget, CHOICES)
        arrays = Arrays.of(problem)
        for _ in range(5):
            order = rng.permutation(problem.groups)
            assert problem.fits(dict.fromkeys(order, precision)) == (text == exact)
        own = [problem.choices(group).index(precision) for group in problem.groups]
        assert arrays.fits(own) == (text == exact)
        assert _satisfied(report, budget) == (text == exact)


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
            assert _satisfied(report, budget) == fits
            assert counted_problem(MODEL, GROUPS, budget, CHOICES).fits(allocation) == fits


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
    problem = counted_problem(MODEL, GROUPS, Budget.parse("W8A4+3b"), CHOICES)
    arrays = Arrays.of(problem)
    scores = [-costs[:, 1] for costs in arrays.costs]
    found = solve(scores, arrays)
    assert arrays.total(found)[1] == arrays.limits[1] == 3 * 6144


ROUGH = [Precision(w, a) for w in (2, 4, 8) for a in (4, 8)]


@pytest.mark.parametrize("precision", ROUGH)
def test_bytes_of_groups_and_rest_are_the_models(precision):
    adaln = Precision(8, 8)
    fmt = {
        "weight_format": WeightFormat(granularity="group", group=8, symmetric=False),
        "activation_format": ActivationFormat(granularity="tensor"),
    }
    _, size = measures(MODEL, GROUPS, Budget.parse("1MB"), ROUGH, adaln=adaln, **fmt)
    report = count(MODEL, GROUPS, uniform_allocation(GROUPS, precision, adaln), CountOptions(**fmt))
    searchable = {g.name: precision for g in GROUPS if g.searchable}
    assert size.of(searchable) - size.limit == pytest.approx(report.bytes - 1e6)


@pytest.mark.parametrize("text", ["W4A4", "3.2b", "0.0225MB", "W4A8+3b", "W4A8+0.0225MB+6b"])
def test_what_fits_is_what_the_count_calls_satisfied(text):
    budget = Budget.parse(text)
    problem = counted_problem(MODEL, GROUPS, budget, ROUGH)
    seen = set()
    for low in ROUGH:
        for high in ROUGH:
            own = dict.fromkeys(problem.groups, low) | {problem.groups[2]: high}
            assert problem.fits(own) == _satisfied(_report(own), budget)
            seen.add(problem.fits(own))
    assert seen == {True, False}


def _neighbours(text):
    return {str(p) for p in parse_choices([NEIGHBOURS], Budget.parse(text))}


def test_neighbours_are_the_next_bits_of_both():
    assert _neighbours("W2A2") == {"W2A2", "W2A3", "W3A2", "W3A3"}
    assert _neighbours("W4A8+2.66MB") == {f"W{w}A{a}" for w in (3, 4, 5) for a in (6, 8)}
    assert _neighbours("W6A4") == {f"W{w}A{a}" for w in (5, 6, 8) for a in (3, 4, 5)}
    assert _neighbours("FP") == set()
    both = parse_choices([NEIGHBOURS, "W8A8"], Budget.parse("W2A2"))
    assert both[-1] == Precision(8, 8)
    for text in ("2.66MB", "W16A4"):
        with pytest.raises(BenchError, match="'neighbours' needs a budget with bits"):
            _neighbours(text)
