import numpy as np
import pytest

from mpqbench.core.errors import BenchError
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import load_reference
from tools.embedded.export import save_reference


@pytest.fixture(autouse=True)
def _as_published(extractor, monkeypatch):
    """Statistics without the name of a network are those of published weights."""
    monkeypatch.setattr(extractor, "is_published", True)


@pytest.fixture
def images(make_images):
    return make_images(40, seed=1)


@pytest.fixture
def features(extractor, images):
    return extractor.extract(open_images(images))


def statistics(features, dtype=np.float64, **more):
    """The arrays of an ADM-style file."""
    arrays = {}
    for suffix, part in (("", features.pooled), ("_s", features.spatial)):
        arrays[f"mu{suffix}"] = part.mean(axis=0).astype(dtype)
        covariance = np.cov(part.astype(np.float64), rowvar=False)
        arrays[f"sigma{suffix}"] = covariance.astype(dtype)
    return arrays | more


def assert_moments(reference, arrays):
    for gaussian, suffix in ((reference.pooled, ""), (reference.spatial, "_s")):
        assert gaussian.mean.dtype == gaussian.covariance.dtype == np.float64
        np.testing.assert_array_equal(gaussian.mean, arrays[f"mu{suffix}"].astype(np.float64))
        expected = arrays[f"sigma{suffix}"].astype(np.float64)
        np.testing.assert_array_equal(gaussian.covariance, expected)


def test_reference_of_images_and_its_own_file(tmp_path, extractor, images, features):
    np.savez(tmp_path / "images.npz", images)
    reference = load_reference(tmp_path / "images.npz", extractor)
    assert (reference.name, reference.count) == ("images.npz", 40)
    assert reference.digest == open_images(images).digest()
    np.testing.assert_array_equal(reference.features, features.pooled)
    expected = statistics(features)
    np.testing.assert_allclose(reference.pooled.covariance, expected["sigma"], atol=1e-12)
    np.testing.assert_allclose(reference.spatial.covariance, expected["sigma_s"], atol=1e-9)

    save_reference(reference, tmp_path / "mine.npz", extractor)
    loaded = load_reference(tmp_path / "mine.npz", extractor)
    assert (loaded.name, loaded.count) == ("mine.npz", 40)
    np.testing.assert_array_equal(loaded.features, features.pooled)
    pooled, spatial = reference.pooled, reference.spatial
    saved = {"mu": pooled.mean, "sigma": pooled.covariance}
    assert_moments(loaded, saved | {"mu_s": spatial.mean, "sigma_s": spatial.covariance})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_adm_statistics_of_any_float_type(tmp_path, extractor, images, features, dtype):
    arrays = statistics(features, dtype)
    np.savez(tmp_path / "adm.npz", **arrays)
    reference = load_reference(tmp_path / "adm.npz", extractor)
    assert_moments(reference, arrays)
    absent = reference.count, reference.features, reference.manifold, reference.kernel
    assert absent == (None,) * 4
    digests = set()
    for start in (0, 10):  # images beside statistics serve precision, recall and KID
        np.savez(tmp_path / "adm.npz", **arrays, arr_0=images[start : start + 10])
        reference = load_reference(tmp_path / "adm.npz", extractor)
        assert_moments(reference, arrays)
        np.testing.assert_array_equal(reference.features, features.pooled[start : start + 10])
        digests.add(reference.digest)
    assert len(digests) == 2


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
            r"'mu' has shape \(20,\), not \(16,\)",
        ),
        ({"sigma": np.eye(15)}, r"'sigma' has shape \(15, 15\), not \(16, 16\)"),
        ({"mu": np.full(16, np.nan)}, "'mu' is not an array of finite floats"),
        ({"sigma_s": None}, "has no 'sigma_s'"),
        (
            {"features": np.zeros((5, 7))},
            r"'features' has shape \(5, 7\), not \(5, 16\)",
        ),
        ({"extractor": np.array("clean-fid")}, "was made with clean-fid, not fashion"),
    ],
)
def test_files_that_do_not_fit(tmp_path, extractor, features, change, sentence):
    arrays = statistics(features) | change
    np.savez(tmp_path / "x.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(BenchError, match=sentence):
        load_reference(tmp_path / "x.npz", extractor)


def test_clean_fid_needs_a_reference_that_names_it(tmp_path, extractor, features, monkeypatch):
    np.savez(tmp_path / "x.npz", **statistics(features))
    load_reference(tmp_path / "x.npz", extractor)
    monkeypatch.setattr(extractor, "stamped_only", True)
    with pytest.raises(BenchError, match="does not say which network made it"):
        load_reference(tmp_path / "x.npz", extractor)
