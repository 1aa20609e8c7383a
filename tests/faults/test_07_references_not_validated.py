"""7: a reference that cannot be statistics of features gives a number, or NaN."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mpqbench.cli.score import score as command
from mpqbench.core.errors import BenchError
from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.reference import load_reference

D = 128


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("fashion")


@pytest.fixture
def load(tmp_path, extractor):
    def of(**arrays):
        path = tmp_path / "x.npz"
        np.savez(path, **({"mu": np.zeros(D), "sigma": np.eye(D)} | arrays))
        return load_reference(path, extractor)

    return of


def indefinite(least):
    sigma = np.eye(D)
    sigma[5, 5] = least
    return sigma


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"sigma": -np.eye(D)}, "'sigma' is no covariance: its least eigenvalue is -1"),
        ({"sigma": indefinite(-0.01)}, "least eigenvalue is -0.01"),
        ({"sigma": np.tril(np.ones((D, D)))}, "'sigma' is not symmetric"),
        ({"sigma": np.full((D, D), np.nan)}, "'sigma' is not an array of finite floats"),
        ({"sigma": np.eye(D) * 1e200}, "'sigma' is not an array of finite floats below 1e30"),
        ({"mu": np.array([None] * D)}, "'mu' has dtype object"),
        ({"mu": np.zeros((1, D))}, r"'mu' has shape \(1, 128\), not \(128,\)"),
        ({"mu": np.zeros(D, int)}, "'mu' is of type int64, not of floats"),
        ({"mu": np.zeros(D, complex)}, "'mu' is of type complex128, not of floats"),
        ({"mu_s": np.zeros(448)}, "has no 'sigma_s'"),
        ({"sigma_s": np.eye(448)}, "has no 'mu_s'"),
        ({"features": np.full((50, D), np.nan)}, "'features' is not an array of finite"),
        ({"features": np.zeros((1, D))}, "'features' of 1 images, not 4 or more"),
        ({"features": np.zeros((0, D))}, "'features' of 0 images, not 4 or more"),
        ({"features": np.array(1.0)}, r"'features' has shape \(\), not \(0, 128\)"),
        ({"features": np.zeros((9, D)), "count": 8}, "of 9 images, but a 'count' of 8"),
        ({"count": -5}, "'count' is -5"),
        ({"count": np.nan}, "'count' is not one whole number"),
        ({"count": "abc"}, "'count' is not one whole number"),
        ({"count": np.arange(3)}, "'count' is not one whole number"),
        ({"extractor": "inception-adm"}, "was made with inception-adm, not fashion"),
        ({"extractor": 3}, "'extractor' is not a text"),
        ({"extractor": np.array(["fashion", "x"])}, "'extractor' is not one short text"),
        ({"weights": "0" * 16}, "was made with weights 0000000000000000 of fashion"),
        ({"arr_0": np.zeros((3, 32, 32, 1), np.uint8)}, "3 images 'arr_0', not 4 or more"),
    ],
)
def test_one_sentence_names_the_file_and_the_array(load, arrays, sentence):
    with pytest.raises(BenchError, match=rf"x\.npz.*{sentence}"):
        load(**arrays)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_of_a_singular_covariance_passes(load, dtype):
    points = np.random.default_rng(0).normal(size=(40, D)).astype(np.float32)
    sigma = np.cov(points, rowvar=False).astype(dtype)
    sigma[3, 4] = np.nextafter(sigma[3, 4], dtype(9))
    covariance = load(sigma=sigma).pooled.covariance
    assert (covariance == covariance.T).all()


def test_what_is_not_read_and_what_is_too_little_is_said(load, tmp_path, extractor):
    assert load(nu=np.zeros(3)).notes == ("reference x.npz: not read: nu",)
    np.savez(tmp_path / "few.npz", np.zeros((40, 32, 32, 1), np.uint8))
    (note,) = load_reference(tmp_path / "few.npz", extractor).notes
    assert "few.npz has 40 images for 128 features" in note


@pytest.mark.parametrize("option", ["--json", None])
def test_no_number_is_printed_that_is_not_finite(tmp_path, option):
    images = np.zeros((20, 32, 32, 1), np.uint8)
    np.savez(tmp_path / "images.npz", images)
    statistics = {"mu": np.zeros(D), "sigma": np.eye(D), "features": np.full((50, D), 9e29)}
    np.savez(tmp_path / "x.npz", **statistics)
    names = [str(tmp_path / "images.npz"), "--reference", str(tmp_path / "x.npz")]
    done = CliRunner().invoke(command, [*names, *([option] if option else [])])
    if done.exit_code == 0 and option:
        json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert "nan" not in done.output.lower()
