"""Fronts and rules of thinning: properties on random points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpqbench.search.pareto import (
    RULES,
    Target,
    evenly,
    front,
    hull,
    lagrangian,
    pareto_window,
    shadow_price,
)

numbers = st.one_of(st.integers(1, 6).map(float), st.floats(0.01, 100))
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40).map(
    lambda pairs: tuple(np.array(column) for column in zip(*pairs, strict=True))
)
quick = settings(deadline=None, max_examples=60)


def _dominated(cost, score):
    """Points that another dominates: no worse in both and better in one."""
    no_worse = (cost[:, None] <= cost) & (score[:, None] <= score)
    better = (cost[:, None] < cost) | (score[:, None] < score)
    return (no_worse & better).any(axis=0)


@quick
@given(points)
def test_the_front_is_all_that_is_not_dominated(pair):
    cost, score = pair
    kept = front(cost, score)
    assert not _dominated(cost, score)[kept].any()
    undominated = set(
        zip(cost[~_dominated(cost, score)], score[~_dominated(cost, score)], strict=True)
    )
    assert set(zip(cost[kept], score[kept], strict=True)) == undominated
    assert len(kept) == len(undominated)
    assert (np.diff(cost[kept]) > 0).all()
    assert (np.diff(score[kept]) < 0).all()


@quick
@given(points, st.floats(1e-3, 1e3))
def test_the_hull_has_the_least_at_every_price(pair, price):
    cost, score = pair
    kept = hull(cost, score)
    paid = score + price * cost
    assert paid[kept].min() == pytest.approx(paid.min())
    slopes = np.diff(score[kept]) / np.diff(cost[kept])
    assert (np.diff(slopes) > -1e-9).all()


@pytest.mark.parametrize("name", RULES)
@quick
@given(points, st.integers(1, 45), st.floats(0.01, 100), st.floats(1e-3, 1e3))
def test_a_rule_keeps_as_many_different_points_as_there_is_room_for(name, pair, keep, share, price):
    cost, score = pair
    kept = RULES[name](cost, score, keep, Target(share, price, 3.0))
    assert len(kept) == min(keep, len(cost))
    assert len(set(kept.tolist())) == len(kept)
    assert set(kept.tolist()) <= set(range(len(cost)))
    assert (np.diff(cost[kept]) >= 0).all()


@pytest.mark.parametrize("name", ["pareto", "pareto-window"])
@quick
@given(points, st.integers(2, 45), st.floats(0.01, 100))
def test_front_rules_keep_the_front_first_and_its_ends(name, pair, keep, share):
    cost, score = pair
    kept = set(RULES[name](cost, score, keep, Target(share)).tolist())
    own = front(cost, score)
    if len(own) <= keep:
        assert set(own.tolist()) <= kept
    else:
        assert kept <= set(own.tolist())
        if keep >= 4:
            assert {own[0], own[-1]} <= kept


@quick
@given(points, st.integers(2, 20), st.floats(0.01, 100))
def test_both_neighbours_of_the_share_stay(pair, keep, share):
    cost, score = pair
    own = front(cost, score)
    kept = set(pareto_window(cost, score, keep, Target(share)).tolist())
    below, above = own[cost[own] <= share], own[cost[own] > share]
    assert set(below[-1:].tolist()) | set(above[:1].tolist()) <= kept


def test_points_are_thinned_evenly_in_the_logarithm():
    cost = np.geomspace(1, 64, 61)
    cost[30] = 8.0
    kept = cost[evenly(cost, 7, share=8.0)]
    ratios = kept[1:] / kept[:-1]
    assert kept[0] == 1
    assert kept[-1] == 64
    assert ratios.max() < 4  # even would be 2
    assert {8.0, cost[cost > 8.0 + 1e-9].min()} <= set(kept)


@quick
@given(points, st.integers(1, 10), st.floats(1e-2, 1e2))
def test_lagrangian_has_the_best_at_the_price(pair, keep, price):
    cost, score = pair
    kept = lagrangian(cost, score, keep, Target(1.0, price, 1.0))
    paid = score + price * cost
    assert paid[kept].max() <= np.sort(paid)[len(kept) - 1] * (1 + 1e-9)


def test_lagrangian_keeps_the_corners_of_the_hull_in_the_range_first():
    cost = np.arange(1.0, 9.0)
    score = 100 * 4.0**-cost
    score[3] *= 8  # dominated by no one, but off the hull
    kept = lagrangian(cost, score, 3, Target(4.0, price=1.0, spread=6.0))
    slopes = -np.diff(score[hull(cost, score)])
    assert 3 not in kept
    assert kept.tolist() == [1, 2, 4]
    assert len(slopes) == 6


@quick
@given(st.lists(points, min_size=1, max_size=4), st.floats(0.1, 2))
def test_the_shadow_price_just_meets_the_limit(nodes, fraction):
    costs, scores = [n[0] for n in nodes], [n[1] for n in nodes]

    def spent(price):
        paid = [s + price * c for c, s in zip(costs, scores, strict=True)]
        return sum(c[p.argmin()] for c, p in zip(costs, paid, strict=True))

    limit = fraction * sum(c.max() for c in costs) + 1e-9
    price = shadow_price(costs, scores, limit)
    assert price > 0
    if sum(c.min() for c in costs) <= limit and sum(len(hull(*n)) for n in nodes) > len(nodes):
        assert spent(price * (1 + 1e-6)) <= limit
