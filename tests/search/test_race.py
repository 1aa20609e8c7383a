"""Early dropping by paired comparison, against scipy's paired t test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import Recipe
from mpqbench.core.settings import validate
from mpqbench.search.race import FEWEST, dominated


def _errors(rng, means, inputs=40, noise=0.1):
    common = rng.lognormal(0, 1, inputs)  # the inputs differ far more than the candidates
    return np.array([common + mean + noise * rng.standard_normal(inputs) for mean in means])


def test_all_pairs_at_once_are_paired_t_tests_one_by_one():
    rng = np.random.default_rng(4)
    for _ in range(20):
        errors = _errors(rng, rng.uniform(0, 0.2, 7), inputs=10)
        costs = rng.integers(1, 4, 7).astype(float)
        expected = [
            any(
                costs[rival] <= costs[own]
                and ttest_rel(errors[own], errors[rival], alternative="greater").pvalue < 0.05 / 6
                for rival in range(7)
                if rival != own
            )
            for own in range(7)
        ]
        assert dominated(errors, costs, 0.05).tolist() == expected


def test_what_all_inputs_share_does_not_matter():
    errors = _errors(np.random.default_rng(5), [0.0, 0.05, 0.3, 0.0])
    costs = np.array([1.0, 1.0, 2.0, 3.0])
    shifted = errors + 1e6 * np.random.default_rng(6).lognormal(0, 1, errors.shape[1])
    assert dominated(errors, costs, 0.05).tolist() == dominated(shifted, costs, 0.05).tolist()


def test_equal_candidates_are_rarely_dropped():
    rng = np.random.default_rng(1)
    dropped = [dominated(_errors(rng, [0.0] * 10), np.ones(10), 0.05).any() for _ in range(200)]
    # At most ten candidates at 5% each, Bonferroni within a candidate.
    assert np.mean(dropped) < 0.5


def test_the_best_of_the_cheapest_always_stays():
    rng = np.random.default_rng(2)
    for _ in range(100):
        errors = _errors(rng, rng.uniform(0, 1, 6))
        lost = dominated(errors, rng.integers(1, 4, 6).astype(float), 0.05)
        assert not lost.all()
        assert not lost[errors.mean(1).argmin()]


def test_nothing_is_decided_on_few_inputs():
    errors = _errors(np.random.default_rng(0), [0.0, 9.0], inputs=FEWEST - 1)
    assert not dominated(errors, np.ones(2), 0.05).any()


@pytest.mark.parametrize("level", [0, 1, -0.1])
def test_a_recipe_takes_error_levels_between_0_and_1(level):
    assert validate(Recipe, {"name": "x", "early_drop": 0.05}, "here").early_drop == 0.05
    with pytest.raises(BenchError, match="early_drop"):
        validate(Recipe, {"name": "x", "early_drop": level}, "here")
