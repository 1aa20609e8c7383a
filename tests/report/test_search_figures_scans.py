"""Anytime curves, scans and what may be compared: each number computed another way."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_search import add_plain, add_search

from mpqbench.baselines.searchers.random_search import RandomSearch
from mpqbench.core.errors import BenchError
from mpqbench.methods.treeq.tss import TSS
from mpqbench.records.frame import records_frame
from mpqbench.records.runs import read_runs
from mpqbench.records.statistics import over_seeds, spread, spread_label
from mpqbench.report.search.anytime import anytime_curve, progress, side_by_side
from mpqbench.report.search.runs import comparisons
from mpqbench.report.search.scan import labels_of, of_path, sweep_series
from mpqbench.report.table import leaderboard


def test_intervals_are_students_from_three_seeds_on():
    values = [1.0, 2.0, 4.0, 8.0]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert spread(values) == pytest.approx((3.75, low, high, 4))
    assert spread([3.0, 1.0]) == (2.0, 1.0, 3.0, 2)
    assert "95 % t interval over 4 seeds" in spread_label([4, 4])
    assert "smallest and largest of 2" in spread_label([2])
    assert "from 3 seeds on, smallest and largest below" in spread_label([2, 3])
    assert spread_label([1]) == "One seed."


def test_one_record_has_its_own_interval(record):
    both = records_frame([record("rtn", "W3A3", 6.0), record("rtn", "W3A3", 9.0, seed=1)])
    assert over_seeds(both[:1], "fd") == (6.0, 5.5, 6.5, 1)
    assert over_seeds(both, "fd") == (7.5, 6.0, 9.0, 2)
    assert over_seeds(both, "output_mse") is None


def trace(forwards, best):
    return pd.DataFrame({"forwards": forwards, "best": best})


def test_anytime_mean_is_that_of_each_seeds_best_so_far():
    rng = np.random.default_rng(0)
    traces = []
    for length in (30, 50, 40):
        best = np.minimum.accumulate(rng.lognormal(size=length))
        best[:3] = math.nan
        traces.append(trace(np.cumsum(rng.uniform(0.1, 1, length)), best))
    ends = [float(own.forwards.iloc[-1]) for own in traces]
    curve = anytime_curve(traces, ends)
    assert curve.forwards.iloc[0] == max(own.forwards[3] for own in traces)
    assert curve.forwards.iloc[-1] == max(ends)
    for row in curve.itertuples():
        known = [own[own.forwards <= row.forwards].best.dropna() for own in traces]
        values = [own.iloc[-1] for own in known]
        assert row.mean == pytest.approx(np.mean(values))
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert (row.low, row.high) == pytest.approx((low, high))


def test_no_anytime_curve_before_every_seed_has_an_answer():
    some, none = trace([1.0, 2.0], [0.5, 0.4]), trace([1.0, 2.0], [math.nan, math.nan])
    assert anytime_curve([some, none], [2.0, 2.0]) is None
    assert anytime_curve([], []) is None
    assert list(anytime_curve([some], [5.0])["mean"]) == [0.5, 0.4, 0.4]


def test_progress_ends_at_the_best_score_of_each_search(store, record):
    problems = [
        add_search(
            store, record("random", "W3A3", 7.0, seed=seed), RandomSearch(draws=20),
            {"name": "random"}, held_out=0.1 + seed,
        )[1]
        for seed in (0, 1)
    ]  # fmt: skip
    (comparison,) = comparisons(leaderboard(store.read_all()))
    (own,) = progress(comparison, read_runs([store.folder]))
    best = [problem.score(problem.best()) for problem in problems]
    assert own.curve["mean"].iloc[-1] == pytest.approx(np.mean(best))
    assert (own.forwards, own.seeds, own.objective) == (20.0, 2, "output-mse")
    assert own.held_out == pytest.approx((0.6, 0.1, 1.1, 2))


def test_markers_of_like_cost_stand_apart_in_order():
    moved = side_by_side([100.0, 1.0, 100.0, 100.0, 1000.0])
    assert moved[1] == 1.0
    assert moved[4] == 1000.0
    assert moved[0] < moved[2] < moved[3]
    assert moved[2] == pytest.approx(100)
    assert moved[3] / moved[2] == pytest.approx(moved[2] / moved[0])
    assert side_by_side([]) == []
    assert side_by_side([7.0]) == [7.0]


def scanned(store, record, name, noise, seed=0, keep=2):
    environment = {"name": "eng", "noise": noise}
    slot = {"name": "tss", "keep": keep}
    entry = record(name, "W3A3", 5.0 + 10 * noise + seed, seed=seed)
    return add_search(
        store, entry, TSS(keep=keep), slot, environment=environment, held_out=noise + seed, groups=4
    )[0]


def test_series_differ_in_one_number_only(store, record):
    records = [
        scanned(store, record, f"tss-{noise}-{keep}", noise, seed, keep)
        for noise in (0, 0.5, 1.0) for keep in (2, 3) for seed in (0, 1)
    ]  # fmt: skip
    rows = records_frame(records)
    noise = of_path(sweep_series(rows), "environment.noise")
    assert [series.values for series in noise] == [[0, 0.5, 1]] * 2
    assert labels_of(noise) == ["keep 2", "keep 3"]
    assert noise[0].scores("output_mse")[0.5] == pytest.approx((1.0, 0.5, 1.5, 2))
    assert noise[0].scores("fd")[1.0].mean == pytest.approx(15.5)
    keep = of_path(sweep_series(rows), "searcher.keep")
    assert [series.values for series in keep] == [[2, 3]] * 3
    assert labels_of(keep[:1]) == ["tss"]
    assert sweep_series(rows, fewest=4) == []
    with pytest.raises(BenchError, match=r"did you mean 'environment.noise'"):
        of_path(sweep_series(rows), "environment.nois")
    with pytest.raises(BenchError, match="no two methods"):
        of_path(sweep_series(rows[:1]), "searcher.keep")


def test_a_comparison_has_the_searches_and_what_they_must_beat(store, record):
    entry = scanned(store, record, "tss", 0.5)
    add_plain(store, record("rtn", "W3A3", 9.0), 0.5)
    add_plain(store, record("rtn", "W4A4", 6.0), 0.5)
    store.write(record("gptq", "W3A3", 9.0))  # another quantizer
    given = add_plain(store, record("given", "W3A3", 9.0), 0.5)
    slot = {"name": "given", "params": {"allocation": {"blocks.0.mlp.up": "W3A3"}}}
    store.write(given.model_copy(update={"recipe": {**given.recipe, "searcher": slot}}))
    store.write(record("full-precision", "FP", 5.0))
    (comparison,) = comparisons(leaderboard(store.read_all()))
    assert (comparison.name, comparison.title) == ("fashion-dit-W3A3", "fashion-dit, W3A3")
    assert {name: list(own.job) for name, own in comparison.searches.items()} == {
        "tss": [entry.job]
    }
    assert list(comparison.plain) == ["rtn"]
