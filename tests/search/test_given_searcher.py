"""An allocation found elsewhere is taken as it is, or refused in a sentence."""

from __future__ import annotations

import pytest

from mpqbench.baselines.searchers.given import Given
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import Budget, Precision
from mpqbench.search.tabular import random_problem

CHOICES = [Precision(w, a) for w in (2, 4) for a in (3, 4)]
A, B = "blocks.0.attn.qkv", "blocks.0.attn.out"


def _problem(budget="W3A3"):
    return random_problem(2, CHOICES, Budget.parse(budget), seed=0)


def test_it_is_taken_in_network_order():
    found = Given({B: "W2A3", A: "w2a4"}).search(_problem())
    assert list(found) == [A, B]
    assert found.to_json() == {A: "W2A4", B: "W2A3"}


@pytest.mark.parametrize(
    ("allocation", "sentence"),
    [
        ({A: "W2A3"}, f"leaves out {B}"),
        ({A: "W2A3", B: "W2A3", "blocks.0.attn.outs": "W2A3"}, f"did you mean '{B}'"),
        ({A: "W2A3", B: "W3A3"}, "cannot take W3A3"),
    ],
)
def test_mistakes_are_one_sentence(allocation, sentence):
    with pytest.raises(BenchError, match=sentence):
        Given(allocation).search(_problem())


def test_no_precision_is_refused_when_it_is_made():
    with pytest.raises(BenchError, match="precision"):
        Given({A: "four"})


def test_the_budget_holds():
    with pytest.raises(Infeasible, match=r"exceeds budget W3A3: it takes .* BitOPs"):
        Given({A: "W4A4", B: "W4A4"}).search(_problem())
