"""Metrics from parts equal those of one pass, and memory does not grow with the parts."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from scipy.special import softmax

from mpqbench.core.jackknife import balanced_subset, deal_groups
from mpqbench.metrics import rows, score
from mpqbench.metrics.features import Features, FeatureSet
from mpqbench.metrics.reference import reference_of
from mpqbench.metrics.rows import Rows

COUNT, CLASSES = 700, np.arange(700) % 7


def features_of(count, seed):
    """Correlated features far from zero: 24 pooled, 40 spatial, 9 logits."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(24, 24)) / np.sqrt(1 + np.arange(24))[:, None]
    pooled, spatial = rng.normal(size=(count, 24)) @ mixing + 5, rng.normal(2, 1, (count, 40))
    logits = rng.normal(0, 3, (count, 9))
    return Features(*(each.astype(np.float32) for each in (pooled, spatial, logits)))


FEATURES, REFERENCE = features_of(COUNT, 1), reference_of(features_of(500, 2), "r", "0" * 16)


def in_parts(features, length):
    """The same features, in parts of ``length`` images."""

    def read(array):
        return lambda: (array[start : start + length] for start in range(0, len(array), length))

    return FeatureSet(*(Rows(*array.shape, read(array)) for array in features))


def frechet(points, others):
    """From the definition, in one pass."""
    points, others = (np.asarray(each, dtype=np.float64) for each in (points, others))
    one, other = np.cov(points, rowvar=False), np.cov(others, rowvar=False)
    root = np.trace(scipy.linalg.sqrtm(one @ other)).real
    shift = points.mean(axis=0) - others.mean(axis=0)
    return shift @ shift + np.trace(one) + np.trace(other) - 2 * root


def inception(logits):
    """From the definition, in one pass."""
    p = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return np.exp(np.mean(np.sum(p * np.log(p / p.mean(axis=0)), axis=1)))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", 64)
    monkeypatch.setattr(rows, "TILE_ROWS", 50)
    monkeypatch.setattr(rows, "TILE_COLUMNS", 80)


def test_merged_metrics_and_replicates_are_those_of_one_pass(small_blocks):
    others, groups = features_of(500, 2), deal_groups(COUNT, CLASSES)
    found = score.score(in_parts(FEATURES, 90), REFERENCE, CLASSES)
    kept = [slice(None), *(groups != group for group in range(20))]
    for key, of, with_these in (
        ("fd", "pooled", lambda part: frechet(part, others.pooled)),
        ("sfd", "spatial", lambda part: frechet(part, others.spatial)),
        ("is", "logits", inception),
    ):
        expected = [with_these(getattr(FEATURES, of)[each]) for each in kept]
        ours = [found[key].value, *found[key].replicates]
        np.testing.assert_allclose(ours, expected, rtol=1e-9, err_msg=key)


def test_blocks_change_no_more_than_the_last_digits(monkeypatch, small_blocks):
    blocked = score.score(FEATURES, REFERENCE, CLASSES)
    monkeypatch.undo()
    whole = score.score(FEATURES, REFERENCE, CLASSES)
    assert (blocked["precision"], blocked["recall"]) == (whole["precision"], whole["recall"])
    for key, each in whole.items():
        found = blocked[key]
        assert found.value == pytest.approx(each.value, rel=1e-9), key
        np.testing.assert_allclose(found.replicates, each.replicates, rtol=1e-9, err_msg=key)


@pytest.mark.parametrize("length", [1, 37, 500, 700])
def test_where_parts_begin_changes_no_bit(length, small_blocks):
    whole = score.score(FEATURES, REFERENCE, CLASSES)
    assert score.score(in_parts(FEATURES, length), REFERENCE, CLASSES) == whole


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", 256)
    statistics = type(REFERENCE)("statistics", "0" * 16, REFERENCE.pooled, REFERENCE.spatial)

    def made(count, dimension):
        def parts():
            for start in range(0, count, 100):
                yield np.random.default_rng(start).normal(size=(100, dimension)).astype("float32")

        return Rows(count, dimension, parts)

    def peak(count):
        features = FeatureSet(made(count, 24), made(count, 40), made(count, 9))
        tracemalloc.start()
        score.score(features, statistics)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)  # what is made once
    fewer, more = peak(2000), peak(20_000)
    of_groups = 18_000 * 8 * 8  # a few numbers of each image: its group and its order
    assert more - fewer < of_groups < 18_000 * 24 * 8


def test_above_a_number_of_images_pairs_are_of_a_balanced_subset(monkeypatch):
    monkeypatch.setattr(score, "MOST_COMPARED", 210)
    chosen = score.subsample(COUNT, CLASSES)
    assert np.bincount(CLASSES[chosen]).tolist() == [30] * 7
    assert (np.diff(chosen) > 0).all()
    found = score.score(in_parts(FEATURES, 90), REFERENCE, CLASSES)
    few = score.score(Features(*(each[chosen] for each in FEATURES)), REFERENCE, CLASSES[chosen])
    for key in ("precision", "recall", "kid"):
        assert found[key] == few[key], key
    assert len(set(found["kid"].replicates)) == 20
    assert found["fd"].value == pytest.approx(
        frechet(FEATURES.pooled, features_of(500, 2).pooled), rel=1e-9
    )
    (note,) = score.missing(COUNT)
    assert note == "precision, recall and KID are of 210 of the 700 images, balanced by class"
    assert score.missing(210) == ()


def test_a_subset_is_balanced_however_classes_lie():
    for classes in (np.arange(1000) // 100, np.arange(1000) % 10, None):
        chosen = balanced_subset(1000, 500, classes)
        assert len(set(chosen.tolist())) == 500
        if classes is not None:
            assert np.bincount(classes[chosen]).tolist() == [50] * 10


def test_a_subset_is_part_of_the_metric_fingerprint(extractor, monkeypatch):
    before = [score.metric_fingerprint(extractor, n, REFERENCE) for n in (210, COUNT)]
    monkeypatch.setattr(score, "MOST_COMPARED", 210)
    after = [score.metric_fingerprint(extractor, n, REFERENCE) for n in (210, COUNT)]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
