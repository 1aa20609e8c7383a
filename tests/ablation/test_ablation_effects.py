"""Effects of factorial designs: known ones come back, and intervals hold what they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from mpqbench.lab.ablation.contrasts import contrasts
from mpqbench.lab.ablation.effects import Response, estimate, missing
from mpqbench.records.schema import Score
from mpqbench.records.statistics import combined_half_width, paired_replicates

LEVELS = {"search": ("tss", "ilp", "uniform"), "noise": ("eng", "off"), "add": ("gmb", "svd", "no")}
BASE = {"search": "tss", "noise": "off", "add": "gmb"}
SHAPE = (3, 2, 3)


def measured(seeds, values):
    """A response whose images are not divided into groups."""
    return Response(seeds, values, np.empty((len(values), 0, *values.shape[1:])))


def effects(response, levels=LEVELS, base=BASE, full=True):
    return {(c.kind, c.at): estimate(c, response) for c in contrasts(levels, base, full=full)}


def of_kind(found, kind):
    return {at: effect for (own, at), effect in found.items() if own == kind}


def summed(parts):
    a, b, c = parts
    return a[:, None, None] + b[None, :, None] + c[None, None, :]


def test_multiplicative_data_have_ratios_on_the_logarithmic_scale_and_interact_on_the_other():
    parts = [np.array([1.0, 2.0, 5.0]), np.array([3.0, 1.0]), np.array([1.0, 1.5, 4.0])]
    response = measured((0,), np.exp(summed([np.log(part) for part in parts]))[None])
    ratios = effects(response.logarithms())
    assert np.exp(ratios["contrast", (("search", "uniform"),)].value) == pytest.approx(5)
    assert np.exp(ratios["alone", (("noise", "eng"),)].value) == pytest.approx(3)
    pair = (("search", "uniform"), ("noise", "eng"))
    assert ratios["joint", pair].value == pytest.approx(0, abs=1e-12)
    # (5 - 1) times what noise changes, (3 - 1), times the mean of the third factor
    assert effects(response)["joint", pair].value == pytest.approx(4 * 2 * 6.5 / 3)


def test_main_effects_and_interactions_are_those_of_least_squares():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, *SHAPE))

    def coded(size):  # sum-to-zero coding: the last level is minus the sum of the others
        return np.vstack([np.eye(size - 1), -np.ones(size - 1)])

    rows, target = [], []
    for places in itertools.product(*map(range, SHAPE)):
        codes = [coded(size)[at] for size, at in zip(SHAPE, places, strict=True)]
        pairs = [np.outer(codes[a], codes[b]).ravel() for a, b in ((0, 1), (0, 2), (1, 2))]
        rows += [np.concatenate([[1.0], *codes, *pairs])] * 4
        target += values[(slice(None), *places)].tolist()
    solution = np.linalg.lstsq(np.array(rows), np.array(target), rcond=None)[0]
    found = effects(measured((0, 1, 2, 3), values))
    start = 1
    for size, (factor, names) in zip(SHAPE, LEVELS.items(), strict=True):
        for name, value in zip(
            names, coded(size) @ solution[start : start + size - 1], strict=True
        ):
            assert found["main", ((factor, name),)].value == pytest.approx(value)
        start += size - 1
    factors = list(LEVELS)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        count = (SHAPE[a] - 1) * (SHAPE[b] - 1)
        part = solution[start : start + count].reshape(SHAPE[a] - 1, SHAPE[b] - 1)
        start += count
        whole = coded(SHAPE[a]) @ part @ coded(SHAPE[b]).T
        for i, j in itertools.product(range(SHAPE[a]), range(SHAPE[b])):
            at = ((factors[a], LEVELS[factors[a]][i]), (factors[b], LEVELS[factors[b]][j]))
            assert found["interaction", at].value == pytest.approx(whole[i, j])


def test_two_cells_are_a_paired_difference():
    rng = np.random.default_rng(2)
    scores = [Score(value=2.0 + i, replicates=tuple(rng.normal(size=20))) for i in range(2)]
    response = Response(
        (0,),
        np.array([[score.value for score in scores]]),
        np.array([[score.replicates for score in scores]]).swapaxes(1, 2),
    )
    found = effects(response, {"a": ("on", "off")}, {"a": "on"})
    effect = found["contrast", (("a", "off"),)]
    half = combined_half_width(paired_replicates(scores[1].replicates, scores[0].replicates), ())
    assert (effect.value, effect.images) == pytest.approx((scores[1].value - scores[0].value, half))
    assert effect.half == effect.images
    assert "alone" not in {kind for kind, _ in found}


def test_the_interval_of_several_realizations_has_the_variance_between_them():
    rng = np.random.default_rng(4)
    realized = rng.normal(size=(1, 3, 2))  # one seed, three realizations, two cells
    replicates = rng.normal(size=(1, 20, 2))
    response = Response((0,), realized.mean(axis=1), replicates, realized)
    effect = effects(response, {"a": ("on", "off")}, {"a": "on"})["contrast", (("a", "off"),)]
    moved = realized[0, :, 1] - realized[0, :, 0]
    paired = replicates[0, :, 1] - replicates[0, :, 0]
    half = combined_half_width(paired, [(moved.var(ddof=1) / 3, 2)])
    assert (effect.value, effect.images) == pytest.approx((moved.mean(), half))
    assert (
        effect.images
        > effects(
            Response((0,), realized.mean(axis=1), replicates), {"a": ("on", "off")}, {"a": "on"}
        )["contrast", (("a", "off"),)].images
    )


def test_noise_that_cells_share_cancels():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, *SHAPE))
    shared = rng.normal(size=(3, 12, 1, 1, 1))
    found = effects(Response((0, 1, 2), values, values[:, None] + shared))
    assert all(effect.images == pytest.approx(0, abs=1e-12) for effect in found.values())
    own = found["contrast", (("noise", "eng"),)]
    each = values[:, :, 0].mean(axis=(1, 2)) - values[:, :, 1].mean(axis=(1, 2))
    low, high = stats.t.interval(0.95, 2, each.mean(), stats.sem(each))
    assert own.over_seeds == pytest.approx((high - low) / 2)
    assert own.half == own.over_seeds


@pytest.mark.parametrize(("seeds", "between"), [(2, 0.0), (4, 0.0), (4, 0.3)])
def test_intervals_cover(seeds, between):
    """Cells are means of images whose noise is partly shared; seeds may move each cell besides."""
    rng = np.random.default_rng(seeds)
    groups, per_group, repeats, covered = 20, 5, 400, 0
    for _ in range(repeats):
        noise = rng.normal(size=(seeds, groups, per_group, 2, 2))
        noise += 3 * rng.normal(size=(seeds, groups, per_group, 1, 1))
        sums = noise.sum(axis=2)
        values = sums.sum(axis=1) / (groups * per_group)
        without = (sums.sum(axis=1, keepdims=True) - sums) / ((groups - 1) * per_group)
        moved = between * rng.normal(size=(seeds, 2, 2))
        levels = {"a": ("on", "off"), "b": ("on", "off")}
        response = Response(tuple(range(seeds)), values + moved, without + moved[:, None])
        effect = effects(response, levels, {"a": "on", "b": "on"})["contrast", (("a", "off"),)]
        assert np.isnan(effect.over_seeds) == (seeds < 3)
        covered += abs(effect.value) <= effect.half
    assert covered / repeats >= 0.92
    if seeds == 2:
        assert covered / repeats <= 0.975  # not by being too wide


def test_a_missing_cell_takes_only_what_needs_it():
    values = np.random.default_rng(4).normal(size=(2, *SHAPE))
    whole = effects(measured((5, 6), values))
    values[:, 1, 0, 2] = np.nan  # ilp, eng, no
    response = measured((5, 6), values)
    found = effects(response)
    assert all(effect is None for effect in of_kind(found, "main").values())
    assert all(effect is None for effect in of_kind(found, "interaction").values())
    assert found["contrast", (("search", "ilp"),)] is None
    for key in (("contrast", (("search", "uniform"),)), ("alone", (("search", "ilp"),))):
        assert found[key] == whole[key]
    lost = next(c for c in contrasts(LEVELS, BASE) if c.kind == "main")
    assert missing(lost, response) == [(1, 0, 2)]


def test_one_factor_at_a_time_tells_only_single_changes():
    values = np.full((1, *SHAPE), np.nan)
    for places in [(0, 1, 0), (1, 1, 0), (2, 1, 0), (0, 0, 0), (0, 1, 1), (0, 1, 2)]:
        values[(0, *places)] = sum(places)
    found = effects(measured((0,), values), full=False)
    assert {kind for kind, _ in found} == {"alone"}
    assert {at[0][1]: effect.value for (_, at), effect in found.items()} == pytest.approx(
        {"ilp": 1, "uniform": 2, "eng": -1, "svd": 1, "no": 2}
    )
