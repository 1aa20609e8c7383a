import warnings

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_statistics_to_metric

from mpqbench.core.errors import BenchError
from mpqbench.metrics.frechet import Gaussian, Moments


def points(count, dimension, seed):
    """Correlated points with a decaying spectrum and a mean far from zero."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dimension, dimension)) / np.sqrt(1 + np.arange(dimension))[:, None]
    return rng.normal(size=(count, dimension)) @ mixing + rng.normal(5.0, 1.0, dimension)


def gaussian_of(rows):
    return Gaussian(len(rows), rows.mean(axis=0), np.cov(rows, rowvar=False))


def frechet_distance(gaussian, reference):
    return reference.distance(gaussian)


def by_sqrtm(one, other):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = scipy.linalg.sqrtm(one.covariance @ other.covariance)
    traces = np.trace(one.covariance) + np.trace(other.covariance)
    return np.sum((one.mean - other.mean) ** 2) + traces - 2 * np.trace(root).real


@pytest.mark.parametrize("dimension", [2, 4, 41])
def test_is_that_of_the_matrix_square_root_of_scipy_and_of_torch_fidelity(dimension):
    one, other = gaussian_of(points(200, dimension, 1)), gaussian_of(points(300, dimension, 2))
    ours = frechet_distance(one, other)
    assert ours == pytest.approx(by_sqrtm(one, other), rel=1e-9)
    sides = ({"mu": side.mean, "sigma": side.covariance} for side in (one, other))
    theirs = fid_statistics_to_metric(*sides, False)
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)


def test_few_points_by_gram_matrix_and_by_moments_agree():
    rows, reference = points(20, 50, 5), gaussian_of(points(400, 50, 6))
    ours = reference.distance_of_few(rows)
    assert ours == pytest.approx(reference.distance(Moments.of(rows).gaussian()), rel=1e-6)
    assert ours == pytest.approx(by_sqrtm(gaussian_of(rows), reference), rel=1e-5)


def test_reference_of_deficient_rank():
    reference, sample = gaussian_of(points(10, 30, 7)), gaussian_of(points(200, 30, 8))
    assert reference.factor.shape == (30, 9)
    # The other way round, the factor is of full rank and the deficient matrix is in the middle.
    back = frechet_distance(reference, sample)
    assert frechet_distance(sample, reference) == pytest.approx(back, rel=1e-6)


@given(st.integers(0, 10_000), st.lists(st.floats(-50, 50), min_size=2, max_size=8))
@settings(max_examples=50, deadline=None)
def test_it_is_symmetric_and_a_shift_costs_its_squared_length(seed, shift):
    one, other = (gaussian_of(points(count, len(shift), seed)) for count in (5, 40))
    scale = np.trace(one.covariance) + np.trace(other.covariance) + np.dot(shift, shift)
    moved = Gaussian(one.count, one.mean + shift, one.covariance)
    assert abs(frechet_distance(one, one)) < 1e-6 * scale
    assert abs(frechet_distance(moved, one) - np.dot(shift, shift)) < 1e-6 * scale
    forth, back = frechet_distance(one, other), frechet_distance(other, one)
    assert abs(forth - back) < 1e-6 * scale
    assert forth > -1e-6 * scale


def test_moments_add_and_subtract_in_float64():
    rows = (points(300, 12, 10) + 100).astype(np.float32)
    exact = rows.astype(np.float64)
    left, right = Moments.of(rows[:70]) + Moments.of(rows[70:100]), Moments.of(rows[100:])
    for moments, part in ((left + right, exact), (left + right - right, exact[:100])):
        found = moments.gaussian()
        assert found.count == len(part)
        np.testing.assert_allclose(found.mean, part.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(found.covariance, np.cov(part, rowvar=False), atol=1e-8)


def test_one_image_is_refused():
    with pytest.raises(BenchError, match="at least 2 images, not 1"):
        Moments.of(np.ones((1, 3))).gaussian()
