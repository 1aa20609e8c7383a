"""Kendall's tau against its definition, its interval against repetition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mpqbench.core.errors import BenchError
from mpqbench.lab.study.proxies import agreement


def test_tau_is_concordant_less_discordant_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 12))
    signs = [
        np.sign((first[i] - first[j]) * (second[i] - second[j]))
        for i, j in combinations(range(12), 2)
    ]
    assert agreement(first, second).tau == pytest.approx(np.mean(signs))


def test_one_order_is_one_and_the_reverse_minus_one():
    values = np.arange(10.0)
    alike, reverse = agreement(values, np.exp(values)), agreement(values, -values)
    assert (alike.tau, alike.ci) == (pytest.approx(1), pytest.approx(0))
    assert (reverse.tau, reverse.ci) == (pytest.approx(-1), pytest.approx(0))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # For normal pairs of correlation r, tau is 2 / pi arcsin r.
    rng = np.random.default_rng(1)
    correlation, runs = 0.7, 60
    truth = 2 / np.pi * np.arcsin(correlation)
    covered = 0
    for _ in range(runs):
        a, b = rng.normal(size=(2, 24))
        found = agreement(a, correlation * a + np.sqrt(1 - correlation**2) * b)
        covered += abs(found.tau - truth) <= found.ci
    assert 0.90 <= covered / runs <= 0.99


def test_the_interval_of_a_difference_covers_zero_as_often_as_it_says():
    # Two scores of the same truth with independent errors of one size: none is better.
    rng = np.random.default_rng(2)
    runs, covered, halves = 60, 0, []
    for _ in range(runs):
        truth, *errors = rng.normal(size=(3, 24))
        one, other = (agreement(truth + 0.7 * error, truth) for error in errors)
        gap, half = one.behind(other)
        assert gap == pytest.approx(other.tau - one.tau)
        covered += abs(gap) <= half
        halves.append(half / np.hypot(one.ci, other.ci))
    assert 0.90 <= covered / runs <= 0.99
    assert np.mean(halves) < 0.97  # leaving out an odd allocation helps both


def test_too_few_or_equal_scores_are_named():
    with pytest.raises(BenchError, match="at least 10"):
        agreement(np.arange(9.0), np.arange(9.0))
    with pytest.raises(BenchError, match="no order"):
        agreement(np.ones(10), np.arange(10.0))
