"""23: messages on images and references that do not say what would be right."""

import numpy as np
import pytest

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 1), dtype=np.uint8)


@pytest.fixture
def score(mpqbench, tmp_path):
    np.savez(tmp_path / "ok.npz", IMAGES)
    np.savez(tmp_path / "three.npz", IMAGES[:3])
    np.savez(tmp_path / "one.npz", IMAGES[:1])
    np.savez(tmp_path / "labels.npz", IMAGES, np.arange(20))
    np.savez(tmp_path / "none.npz")
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "object.npy", np.array({"mu": 1}), allow_pickle=True)
    (tmp_path / "folder").mkdir()

    def call(images, reference, *options):
        paths = [tmp_path / name if name != "embedded" else name for name in (images, reference)]
        return mpqbench("score", paths[0], "--reference", paths[1], *options)

    return call


@pytest.mark.parametrize(
    ("images", "reference", "sentence"),
    [
        ("images.npy", "embedded", "images.npy is an .npy file"),
        ("ok.npz", "images.npy", "np.savez(file, arr_0=array)"),
        ("ok.npz", "object.npy", "object.npy is an .npy file"),
        ("ok.npz", "three.npz", "reference three.npz has 3 images, not 4 or more"),
        ("one.npz", "embedded", "has 1 image: metrics need at least 2"),
        ("none.npz", "embedded", "has no array 'arr_0' (it has none)"),
        ("folder", "embedded", "folder: no files are images to read"),
        ("nowhere", "embedded", "does not exist"),
        ("x" * 300, "embedded", "cannot be read"),
        ("ok.npz", "x" * 300, "cannot be read"),
    ],
)
def test_one_sentence_says_what_would_be_right(score, images, reference, sentence):
    code, printed, errors = score(images, reference)
    assert (code, printed) == (2, "")
    assert errors.startswith("error: ")
    assert sentence in errors
    assert errors.count("\n") == 1


def test_what_is_left_out_of_three_images_is_said(score):
    code, printed, errors = score("three.npz", "ok.npz")
    assert code == 0
    assert "precision and recall are left out: they need 4 images, not 3" in errors
    assert "intervals are left out: they need 20 images, not 3" in errors
    assert "values at infinitely many images are left out: they need 512 images" in errors
    assert "Precision" not in printed


def test_arrays_beside_the_images_are_named(score):
    code, _, errors = score("labels.npz", "ok.npz")
    assert code == 0
    assert "labels.npz: arrays that are not read: arr_1" in errors
