from __future__ import annotations

import numpy as np
import pytest

from mpqbench.core.errors import BenchError
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import load_reference, reference_of, save_reference


@pytest.fixture
def images(make_images):
    return make_images(40, seed=1)


@pytest.fixture
def features(extractor, images):
    return extractor.extract(open_images(images))


def statistics(features, dtype=np.float64, **more):
    """The arrays of an ADM-style file."""
    return {
        "mu": features.pooled.mean(axis=0).astype(dtype),
        "sigma": np.cov(features.pooled.astype(np.float64), rowvar=False).astype(dtype),
        "mu_s": features.spatial.mean(axis=0).astype(dtype),
        "sigma_s": np.cov(features.spatial.astype(np.float64), rowvar=False).astype(dtype),
        **more,
    }


def test_reference_of_images(tmp_path, extractor, images, features):
    np.savez(tmp_path / "images.npz", images)
    reference = load_reference(tmp_path / "images.npz", extractor)
    assert (reference.name, reference.count) == ("images.npz", 40)
    assert reference.digest == open_images(images).digest()
    np.testing.assert_array_equal(reference.features, features.pooled)
    expected = np.cov(features.pooled.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(reference.pooled.covariance, expected, atol=1e-12)
    assert reference.spatial.mean.shape == (448,)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_adm_statistics_of_any_float_type(tmp_path, extractor, features, dtype):
    arrays = statistics(features, dtype)
    np.savez(tmp_path / "adm.npz", **arrays)
    reference = load_reference(tmp_path / "adm.npz", extractor)
    for gaussian, mean, covariance in (
        (reference.pooled, "mu", "sigma"),
        (reference.spatial, "mu_s", "sigma_s"),
    ):
        assert gaussian.mean.dtype == gaussian.covariance.dtype == np.float64
        np.testing.assert_array_equal(gaussian.mean, arrays[mean].astype(np.float64))
        np.testing.assert_array_equal(gaussian.covariance, arrays[covariance].astype(np.float64))
    assert reference.count is None
    assert reference.features is None
    assert reference.manifold is None
    assert reference.kernel is None


def test_adm_images_serve_precision_and_recall_only(tmp_path, extractor, images, features):
    arrays = statistics(features, np.float32)
    np.savez(tmp_path / "adm.npz", **arrays, arr_0=images[:10])
    reference = load_reference(tmp_path / "adm.npz", extractor)
    np.testing.assert_array_equal(reference.pooled.mean, arrays["mu"].astype(np.float64))
    np.testing.assert_array_equal(reference.features, features.pooled[:10])
    np.savez(tmp_path / "other.npz", **arrays, arr_0=images[10:20])
    assert load_reference(tmp_path / "other.npz", extractor).digest != reference.digest


def test_saved_reference_comes_back(tmp_path, extractor, features):
    saved = reference_of(features, "mine", "0123456789abcdef")
    save_reference(saved, tmp_path / "mine.npz", extractor)
    loaded = load_reference(tmp_path / "mine.npz", extractor)
    assert (loaded.name, loaded.count, loaded.digest) == ("mine.npz", 40, saved.digest)
    np.testing.assert_array_equal(loaded.features, features.pooled)
    for ours, theirs in ((loaded.pooled, saved.pooled), (loaded.spatial, saved.spatial)):
        np.testing.assert_array_equal(ours.mean, theirs.mean)
        np.testing.assert_array_equal(ours.covariance, theirs.covariance)


def test_digest_is_of_the_content(tmp_path, extractor, features):
    arrays = statistics(features)
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "b.npz", **dict(reversed(arrays.items())))
    arrays["mu"][0] += 1e-9
    np.savez(tmp_path / "c.npz", **arrays)
    one, same, other = (load_reference(tmp_path / f"{x}.npz", extractor).digest for x in "abc")
    assert one == same != other


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"mu": np.zeros(20), "sigma": np.eye(20)},
            "20 dimensions in 'mu', fashion gives 16",
        ),
        (
            {"mu_s": np.zeros(23), "sigma_s": np.eye(23)},
            "23 dimensions in 'mu_s', fashion gives 448",
        ),
        ({"sigma": np.eye(15)}, r"'mu' \(16,\) and 'sigma' \(15, 15\) do not fit"),
        ({"mu": np.full(16, np.nan)}, "'mu' is not an array of finite floats"),
        ({"sigma": np.eye(16, dtype=int)}, "'sigma' is not an array of finite floats"),
        ({"sigma_s": None}, "'mu_s' but no 'sigma_s'"),
        ({"features": np.zeros((5, 7))}, r"'features' has shape \(5, 7\), not \(n, 16\)"),
        ({"extractor": np.array("clean-fid")}, "was made with clean-fid, not fashion"),
        ({"weights": np.array("0123")}, "was made with weights 0123 of fashion"),
    ],
)
def test_files_that_do_not_fit(tmp_path, extractor, features, change, sentence):
    arrays = statistics(features) | change
    np.savez(tmp_path / "x.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(BenchError, match=sentence):
        load_reference(tmp_path / "x.npz", extractor)


def test_statistics_of_an_unnamed_network_are_not_for_clean_fid(
    tmp_path, extractor, features, monkeypatch
):
    np.savez(tmp_path / "x.npz", **statistics(features))
    load_reference(tmp_path / "x.npz", extractor)
    monkeypatch.setattr(extractor, "stamped_only", True)
    with pytest.raises(BenchError, match="does not say which network made it"):
        load_reference(tmp_path / "x.npz", extractor)


def test_missing_and_damaged(tmp_path, extractor):
    with pytest.raises(BenchError, match="does not exist"):
        load_reference(tmp_path / "none.npz", extractor)
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(BenchError, match="perhaps truncated"):
        load_reference(tmp_path / "x.npz", extractor)
