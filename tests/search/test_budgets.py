"""Budgets on BitOPs, bytes and average weight bits, alone and together."""

from __future__ import annotations

import pytest

from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.core.recipe import NEIGHBOURS, Recipe
from mpqbench.core.settings import validate
from mpqbench.cost.count import count
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.search.budget_costs import CountedProblem, measures, parse_choices

CHOICES = [Precision(w, a) for w in (2, 4, 8) for a in (4, 8)]


@pytest.fixture(scope="module")
def model():
    return tiny_transformer("meta")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("w4a4", "W4A4"),
        ("2.50mb", "2.5MB"),
        ("3.5B", "3.5b"),
        ("3b + W4A8+1MB", "W4A8+1MB+3b"),
        ("FP", "FP"),
        ("W16A16", "FP"),
    ],
)
def test_a_budget_has_one_spelling(text, canonical):
    budget = Budget.parse(text)
    assert str(budget) == canonical
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("W4", "'W4' is not a bound: write W4A4, 2.5MB, 3.5b or FP"),
        ("W4A4+W3A3", "bounds BitOPs twice: leave one bound out"),
        ("2MB+3MB", "bounds bytes twice"),
        ("FP+2MB", "FP bounds nothing"),
        ("W9A4", "weight bits must be 2 to 8"),
        ("", "is not a bound"),
    ],
)
def test_mistakes_are_one_sentence(text, sentence):
    with pytest.raises(BenchError, match=sentence):
        Budget.parse(text)


@pytest.mark.parametrize("precision", CHOICES)
def test_bytes_of_groups_and_rest_are_the_models(model, precision):
    groups, adaln = layer_groups(model), Precision(8, 8)
    fmt = {
        "weight_format": WeightFormat(granularity="group", group=8, symmetric=False),
        "activation_format": ActivationFormat(granularity="tensor"),
    }
    _, size = measures(model, groups, Budget.parse("1MB"), CHOICES, adaln=adaln, **fmt)
    report = count(model, groups, uniform_allocation(groups, precision, adaln), **fmt)
    searchable = {g.name: precision for g in groups if g.searchable}
    assert size.of(searchable) - size.limit == pytest.approx(report.bytes - 1e6)


@pytest.mark.parametrize("text", ["W4A4", "3.2b", "0.0225MB", "W4A8+3b", "W4A8+0.0225MB+6b"])
def test_what_fits_is_what_the_count_calls_satisfied(model, text):
    groups, budget = layer_groups(model), Budget.parse(text)
    problem = CountedProblem(model, groups, budget, CHOICES)
    seen = set()
    for low in CHOICES:
        for high in CHOICES:
            own = dict.fromkeys(problem.groups, low) | {problem.groups[2]: high}
            whole = {g.name: own.get(g.name, FULL) for g in groups}
            report = count(
                model,
                groups,
                whole,
                weight_format=WeightFormat(),
                activation_format=ActivationFormat(),
            )
            assert problem.fits(own) == report.satisfied(budget)
            seen.add(problem.fits(own))
    assert seen == {True, False}


def test_choices_of_a_budget_without_precision_are_the_grid(model):
    problem = CountedProblem(model, layer_groups(model), Budget.parse("3b"))
    assert len(problem.choices(problem.groups[0])) == 30
    assert FULL not in problem.choices(problem.groups[0])


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


def test_a_misspelt_neighbour_is_told_the_word():
    with pytest.raises(BenchError, match=r"'neighbors' is not a precision: .* or write neighbours"):
        validate(Recipe, {"name": "x", "choices": ["neighbors"]}, "here")
