"""Uniform precision, on a problem of costs alone."""

import math

import pytest
from counted import counted_problem

from mpqbench.baselines.searchers.uniform import Uniform
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.dit.groups import layer_groups
from mpqbench.search.problem import Problem

MACS_PER_BLOCK = 16 * 12 * 16 * 16  # tokens x 12 d^2


def _problem(budget: str, choices: str = "", seed: int = 0) -> Problem:
    model = tiny_transformer("meta")
    parsed = [Precision.parse(text) for text in choices.split()]
    return counted_problem(model, layer_groups(model), Budget.parse(budget), parsed, seed)


def _found(budget: str, choices: str = "") -> set[str]:
    problem = _problem(budget, choices)
    allocation = problem.checked(Uniform().search(problem))
    assert list(allocation) == list(problem.groups)
    assert problem.cost(allocation) <= problem.limit()
    return set(allocation.to_json().values())


def test_the_problem_counts_searchable_groups_only():
    problem = _problem("W4A4")
    assert len(problem.groups) == 8
    assert not any("adaln" in group for group in problem.groups)
    assert problem.limit() == 2 * MACS_PER_BLOCK * 16
    assert problem.cost({"blocks.0.attn.out": Precision(3, 8)}) == 16 * 16 * 16 * 24
    assert problem.spent == 0


def test_default_choices_are_the_grid_and_the_budgets_own_precision():
    choices = _problem("W4A16").choices("blocks.0.mlp.up")
    assert len(choices) == len(set(choices)) == 6 * 5 + 1
    assert Precision(4, None) in choices
    assert choices[0] == Precision(2, 3)
    given = _problem("W4A4", "W8A8 W2A8 W8A8").choices("blocks.1.mlp.up")
    assert given == (Precision(2, 8), Precision(8, 8))


def test_floating_point_has_no_bound_and_one_choice():
    problem = _problem("FP", "W4A4")
    assert problem.limit() == math.inf
    assert problem.choices("blocks.0.mlp.up") == (FULL,)
    assert _found("FP") == {"FP"}


@pytest.mark.parametrize(
    ("budget", "choices", "found"),
    [
        ("W4A4", "", "W4A4"),
        ("W3A6", "", "W3A6"),
        ("W4A16", "", "W4A16"),
        ("W4A4", "W2A3 W3A5 W5A4 W8A8", "W3A5"),
        ("W5A5", "W6A4 W4A6 W2A3", "W4A6"),
    ],
)
def test_uniform_takes_the_budgets_precision_or_the_costliest_that_fits(budget, choices, found):
    assert _found(budget, choices) == {found}


def test_uniform_says_what_would_be_cheapest():
    with pytest.raises(Infeasible, match=r"the cheapest, W4A4, takes 1\.57286e\+06 of 589824"):
        Uniform().search(_problem("W2A3", "W4A4 W8A8"))


def test_uniform_needs_a_common_precision():
    class Disjoint:
        groups = ("a", "b")
        budget = Budget.parse("W4A4")

        def choices(self, group):
            return {"a": (Precision(2, 8),), "b": (Precision(3, 8),)}[group]

    with pytest.raises(BenchError, match="no precision in common"):
        Uniform().search(Disjoint())
