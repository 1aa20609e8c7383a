"""Scores of an engine; early dropping by paired comparison, against scipy's paired t test."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mpqbench.baselines.objectives.output_mse import OutputMSE
from mpqbench.core.precision import Precision
from mpqbench.search.scoring import FEWEST, JointScorer, dominated

CHEAP, DEAR = Precision(2, 3), Precision(4, 4)


class _Batch:
    def __init__(self, inputs):
        self.inputs = inputs


class _Engine:
    """Errors given beforehand: candidate ``{"a": p, "b": q}`` has its row; counts what is asked."""

    def __init__(self, errors, batches):
        self.errors_of, self.forwards, self.asked = errors, 0.0, []
        size = next(iter(errors.values())).shape[0] // batches
        self.batches = [_Batch(slice(k * size, (k + 1) * size)) for k in range(batches)]

    def price(self, partial):
        return 1.0

    def batch_errors(self, partials, batch, distance):
        self.asked.append(len(partials))
        self.forwards += len(partials) / len(self.batches)
        return np.stack([self.errors_of[tuple(p.values())][batch.inputs] for p in partials])

    def errors(self, partials, distance):
        parts = [self.batch_errors(partials, b, distance) for b in self.batches]
        return np.concatenate(parts, axis=1)


def _scorer(seed=0, level=None, batches=4):
    rng = np.random.default_rng(seed)
    common = rng.lognormal(0, 1, 32)
    pairs = [(p, q) for p in (CHEAP, DEAR) for q in (CHEAP, DEAR)]
    errors = {pair: common + rng.uniform(0, 1) + 0.05 * rng.standard_normal(32) for pair in pairs}
    choices = {"a": (CHEAP, DEAR), "b": (CHEAP, DEAR)}
    cost = {group: {CHEAP: 6.0, DEAR: 16.0} for group in choices}
    return JointScorer(_Engine(errors, batches), choices, cost, OutputMSE(), level=level), pairs


def _allocations(pairs):
    return [{"a": p, "b": q} for p, q in pairs]


def test_without_dropping_scores_are_means_over_all_inputs():
    scorer, pairs = _scorer()
    scores, forwards = scorer.scores(_allocations(pairs))
    expected = [scorer.engine.errors_of[pair].mean() for pair in pairs]
    np.testing.assert_allclose(scores, expected)
    assert forwards == 4


@pytest.mark.parametrize("seed", range(20))
def test_those_that_stay_have_exact_scores_and_the_front_stays(seed):
    exact, pairs = _scorer(seed)
    expected, whole = exact.scores(_allocations(pairs))
    raced, _ = _scorer(seed, level=0.01)
    scores, forwards = raced.scores(_allocations(pairs))
    assert forwards <= whole
    costs = np.array([12.0, 22.0, 22.0, 32.0])
    front = [
        i
        for i in range(4)
        if not any(costs[j] <= costs[i] and expected[j] < expected[i] for j in range(4) if j != i)
    ]
    np.testing.assert_allclose(scores[front], expected[front])
    for i in set(range(4)) - set(front):  # dropped or not, never better than what beats it
        assert scores[i] >= min(expected[j] for j in front if costs[j] <= costs[i])


def test_losers_are_not_run_again():
    scorer, pairs = _scorer(3, level=0.05)
    scorer.scores(_allocations(pairs))
    asked = scorer.engine.asked
    assert asked == sorted(asked, reverse=True)
    first = np.stack([scorer.engine.errors_of[pair][:8] for pair in pairs])
    lost = dominated(first, np.array([12.0, 22.0, 22.0, 32.0]), 0.05).sum()
    assert lost > 0
    assert asked[1] == 4 - lost


def test_only_candidates_of_the_same_groups_compete():
    rng = np.random.default_rng(1)
    common = rng.lognormal(0, 1, 32)
    errors = {(p,): common + mean for p, mean in ((CHEAP, 0.0), (DEAR, 9.0))}
    cost = {group: {CHEAP: 6.0, DEAR: 16.0} for group in "ab"}
    scorer = JointScorer(_Engine(errors, 4), {}, cost, OutputMSE(), level=0.05)
    scores, forwards = scorer.scores([{"a": CHEAP}, {"b": DEAR}])
    assert forwards == 2
    np.testing.assert_allclose(scores, [common.mean(), common.mean() + 9])


def test_the_score_of_one_that_left_is_relative_to_the_best_cheaper_one():
    rng = np.random.default_rng(2)
    common = rng.lognormal(0, 1, 32)
    behind = 0.5 + 0.01 * rng.standard_normal(32)
    errors = {(CHEAP,): common, (DEAR,): common + behind}
    cost = {"a": {CHEAP: 1.0, DEAR: 2.0}}
    scorer = JointScorer(_Engine(errors, 4), {}, cost, OutputMSE(), level=0.05)
    scores, forwards = scorer.scores([{"a": DEAR}, {"a": CHEAP}])
    assert forwards == 1.25
    np.testing.assert_allclose(scores, [common.mean() + behind[:8].mean(), common.mean()])


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
