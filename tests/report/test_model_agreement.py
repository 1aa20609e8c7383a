"""Agreement of two models: tau by pairs, its interval by another way, and the figure."""

from itertools import combinations

import numpy as np
import pytest
from records_of import record_of

from mpqbench.records.agreement import agreements
from mpqbench.records.frame import records_frame
from mpqbench.records.selection import Selection
from mpqbench.report.agreement import agreement_figures
from mpqbench.report.looks import Style
from mpqbench.report.table import leaderboard

METHODS = ("rtn", "gptq", "awq", "quarot", "brecq")
ONE, OTHER = (1.0, 2.0, 3.0, 4.0, 5.0), (10.0, 30.0, 20.0, 40.0, 50.0)


def frame_of(model, values, wobbles=None, **fields):
    wobbles = wobbles or [(0.01, -0.01) * 6] * len(values)
    records = [
        record_of(method, fd=value, model=model, metric=model, wobble=wobble, **fields)
        for method, value, wobble in zip(METHODS, values, wobbles, strict=False)
    ]
    return records, records_frame(records)


def test_tau_counts_pairs_of_methods():
    _, one = frame_of("a", ONE)
    _, other = frame_of("b", OTHER)
    (found,) = agreements(one, other)
    pairs = list(combinations(range(5), 2))
    same = sum((ONE[i] < ONE[j]) == (OTHER[i] < OTHER[j]) for i, j in pairs)
    assert found.tau == pytest.approx((2 * same - len(pairs)) / len(pairs))
    assert found.low == found.high == pytest.approx(found.tau)  # far apart, little noise
    assert (found.budget, set(found.values.index)) == ("W4A4", {*METHODS})


def test_shared_noise_does_not_blur_the_order_and_own_noise_does():
    rng = np.random.default_rng(0)
    shared = tuple(rng.normal(scale=2.0, size=12))
    own = [tuple(rng.normal(scale=2.0, size=12)) for _ in METHODS]
    _, other = frame_of("b", OTHER)
    narrow, wide = (
        agreements(frame_of("a", ONE, wobbles)[1], other)[0]
        for wobbles in ([shared] * len(METHODS), own)
    )
    assert narrow.high - narrow.low < 1e-6
    assert wide.low < narrow.tau - 0.2
    assert wide.low <= wide.tau <= wide.high


def test_methods_of_one_format_each_are_compared_together_and_others_in_their_class():
    """Twice as many rows of two classes: one tau each; two classes of one row each: one tau."""
    split = [("rtn", "g32"), *((name, "channel") for name in METHODS[1:])]
    both = [(name, kind) for kind in ("channel", "g32") for name in METHODS]

    def frame(model, rows):
        return records_frame(
            record_of(name, fd=5.0 + at, job=f"{name}-{kind}", metric=model, format=kind)
            for at, (name, kind) in enumerate(rows)
        )

    (together,) = agreements(frame("a", split), frame("b", split))
    assert (together.format, together.tau) == ("", pytest.approx(1.0))
    found = agreements(frame("a", both), frame("b", both[5:] + both[:5]))
    assert [pair.format for pair in found] == ["channel", "g32"]


def test_a_score_without_replicates_has_an_interval_over_methods():
    """Tau of ten methods, of which two neighbours are swapped, without each of them in turn."""
    order = [*range(8), 9, 8]
    one, other = (
        records_frame(
            record_of(f"m{at}", model=model, metric=model,
                      scores={"output_mse": {"value": 1.0 + value}})
            for at, value in enumerate(values)
        )
        for model, values in (("a", range(10)), ("b", order))
    )  # fmt: skip
    (found,) = agreements(one, other, "output_mse")
    taus = [1.0 - 2 * 2 / (9 * 8)] * 8 + [1.0] * 2
    half = 1.96 * np.sqrt(9 / 10 * np.sum((np.array(taus) - np.mean(taus)) ** 2))
    assert found.over == "methods"
    assert found.tau == pytest.approx(1.0 - 2 * 2 / (10 * 9))
    assert (found.low, found.high) == pytest.approx((found.tau - half, 1.0), abs=1e-4)
    assert agreements(one[:9], other, "output_mse") == []  # nine methods are too few


def test_a_budget_with_three_common_methods_is_left_out():
    _, one = frame_of("a", ONE[:3])
    _, other = frame_of("b", OTHER)
    assert agreements(one, other) == []


def test_the_figure_has_a_panel_for_each_budget_and_names_every_method():
    records = []
    for model, values in (("a", ONE), ("b", OTHER)):
        for budget in ("W4A4", "W3A3"):
            records += frame_of(model, values, budget=budget)[0]
        records.append(record_of("full-precision", "FP", 0.5, model=model, metric=model))
    table = leaderboard(records)
    ((name, figure),) = agreement_figures(table, Style(Selection(width=3.33)))
    assert name == "a-b"
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [f"{budget} channel: τ = 0.80 (0.80 to 0.80)" for budget in ("W4A4", "W3A3")]
    assert {text.get_text() for text in figure.axes[0].texts} == set(METHODS)
    assert agreement_figures(leaderboard(records[:6]), Style()) == []
