"""11: a difference is taken for that of infinitely many images; float16 of ADM's P/R is unknown."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mpqbench.cli.score import score as command
from mpqbench.core.jackknife import Estimate
from mpqbench.metrics.features import Features
from mpqbench.metrics.frechet import Gaussian
from mpqbench.metrics.precision_recall import Manifold
from mpqbench.metrics.reference import Reference
from mpqbench.metrics.score import at_infinity, score
from mpqbench.records.schema import METRICS

D, N, TRIALS = 32, 200, 120


def populations():
    """A reference and two populations of other variances, with their true distances to it."""
    spectrum = 1.0 / np.arange(1, D + 1)
    factors = (0.8, 1.6)
    reference = Gaussian(None, np.zeros(D), np.diag(spectrum))
    others = [Gaussian(None, np.zeros(D), np.diag(spectrum * factor)) for factor in factors]
    return reference, others, [reference.distance(other) for other in others]


@pytest.fixture(scope="module")
def trials():
    """Plain and extrapolated values and half-widths of both populations, (TRIALS, 2, 2, 2)."""
    gaussian, others, _ = populations()
    reference = Reference("known", "0", gaussian)
    rng, found = np.random.default_rng(0), []
    for _ in range(TRIALS):
        noise = rng.normal(size=(N, D))
        scores = [score(Features(noise @ other.factor.T), reference) for other in others]
        found.append([[(s[k].value, s[k].ci) for k in ("fd", "fd_infinity")] for s in scores])
    return np.array(found)


def test_the_extrapolation_is_that_of_the_population(trials):
    _, _, true = populations()
    values = trials[..., 0].mean(axis=0)
    assert (values[:, 0] - true > 0.05).all()  # the bias of N images
    assert np.abs(values[:, 1] - true).max() < 0.01
    covered = np.abs(trials[:, :, 1, 0] - true) <= trials[:, :, 1, 1]
    assert covered.mean() > 0.85
    plain = np.abs(trials[:, :, 0, 0] - true) <= trials[:, :, 0, 1]
    assert plain.mean() < 0.5


def test_the_bias_of_a_plain_difference_does_not_cancel(trials):
    _, _, true = populations()
    differences = trials[:, 1, :, 0] - trials[:, 0, :, 0]
    errors = differences.mean(axis=0) - (true[1] - true[0])
    assert abs(errors[1]) < abs(errors[0]) / 3


def test_a_line_in_one_over_n_is_extrapolated_exactly():
    groups = np.repeat(np.arange(10), [20, 21, 22, 23, 24, 25, 26, 27, 28, 29])
    left = len(groups) - np.bincount(groups)
    found = at_infinity(Estimate(3 + 50 / len(groups), tuple(3 + 50 / left)), groups)
    assert found.value == pytest.approx(3, abs=1e-9)
    assert found.ci is not None


@pytest.mark.parametrize(("count", "is_there"), [(4 * D, True), (4 * D - 1, False)])
def test_too_few_images_have_no_extrapolation(count, is_there):
    gaussian, _, _ = populations()
    points = np.random.default_rng(0).normal(size=(count, D))
    scores = score(Features(points), Reference("known", "0", gaussian))
    assert ("fd_infinity" in scores) == is_there
    assert "fd_infinity" in METRICS


def test_distances_of_the_adm_evaluator_are_float16():
    rng = np.random.default_rng(0)
    points, others = (rng.normal(40, 1, (60, 64)).astype(np.float32) for _ in range(2))
    u, v = points.astype(np.float16), others.astype(np.float16)
    norms = [(x * x).astype(np.float32).sum(axis=1).astype(np.float16) for x in (u, v)]
    product = (u.astype(np.float32) @ v.astype(np.float32).T).astype(np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = (norms[0][:, None] - np.float16(2) * product) + norms[1]
    manifold = Manifold(others, arithmetic="adm-float16")
    ((*_, found),) = manifold._squared(points)
    if np.isfinite(expected).all():
        np.testing.assert_array_equal(found, np.maximum(expected, 0))
    small = Manifold(others / 20, arithmetic="adm-float16")
    ((*_, found),) = small._squared(points / 20)
    assert found.dtype == np.float16
    exact = np.square(points[:, None].astype(float) / 20 - others / 20.0).sum(axis=2)
    np.testing.assert_allclose(found, exact, atol=0.6)
    assert not np.allclose(found, exact, atol=1e-3)


def test_a_block_that_overflows_float16_is_computed_in_float32():
    points = np.random.default_rng(0).normal(0, 100, (20, 64)).astype(np.float32)
    manifold = Manifold(points, arithmetic="adm-float16")
    exact = Manifold(points)
    np.testing.assert_allclose(manifold.radii, exact.radii, rtol=1e-4)


def test_the_option_changes_the_fingerprint_and_is_in_the_output(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 1), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images)
    arguments = [str(tmp_path / "x.npz"), "--reference", str(tmp_path / "x.npz"), "--json"]
    plain = json.loads(CliRunner().invoke(command, arguments).stdout)
    arguments += ["--precision-recall", "adm-float16"]
    adm = json.loads(CliRunner().invoke(command, arguments).stdout)
    assert (plain["precision_recall"], adm["precision_recall"]) == ("float64", "adm-float16")
    assert plain["fingerprint"] != adm["fingerprint"]
