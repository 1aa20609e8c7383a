from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from mpqbench.metrics.inception_score import inception_score


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, (120, 10)).astype(np.float32)


@pytest.mark.parametrize("splits", [1, 2, 4])
def test_matches_torch_fidelity_unshuffled(logits, splits):
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=False)
    ours = inception_score(logits, split=120 // splits).value
    assert ours == pytest.approx(theirs["inception_score_mean"], rel=1e-12)


def test_fewer_images_than_a_split_are_one_split(logits):
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=1, shuffle=False)
    assert inception_score(logits).value == pytest.approx(theirs["inception_score_mean"])


def test_a_shorter_last_split_counts_as_one(logits):
    parts = [inception_score(logits[i : i + 50]).value for i in (0, 50, 100)]
    assert inception_score(logits, split=50).value == pytest.approx(np.mean(parts), rel=1e-12)


def test_certain_and_balanced_predictions_score_the_number_of_classes():
    assert inception_score(np.eye(10) * 1e4).value == pytest.approx(10.0)


def test_equal_predictions_score_one(logits):
    assert inception_score(np.repeat(logits[:1], 20, axis=0)).value == pytest.approx(1.0)


def test_leaving_groups_out_equals_recomputing(logits):
    groups = np.arange(120) % 7
    estimate = inception_score(logits, groups, split=60)
    halves = [(logits[:60], groups[:60]), (logits[60:], groups[60:])]
    expected = [
        np.mean([inception_score(part[dealt != g]).value for part, dealt in halves])
        for g in range(7)
    ]
    np.testing.assert_allclose(estimate.replicates, expected, rtol=1e-12)
    assert estimate.value == pytest.approx(inception_score(logits, split=60).value, rel=1e-12)
