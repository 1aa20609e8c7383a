"""Early dropping by paired comparison, against scipy's paired t test."""

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


def test_nothing_is_decided_on_few_inputs():
    errors = _errors(np.random.default_rng(0), [0.0, 9.0], inputs=FEWEST - 1)
    assert not dominated(errors, np.ones(2), 0.05).any()


@pytest.mark.parametrize("level", [0, 1, -0.1])
def test_a_recipe_takes_error_levels_between_0_and_1(level):
    assert validate(Recipe, {"name": "x", "early_drop": 0.05}, "here").early_drop == 0.05
    with pytest.raises(BenchError, match="early_drop"):
        validate(Recipe, {"name": "x", "early_drop": level}, "here")
