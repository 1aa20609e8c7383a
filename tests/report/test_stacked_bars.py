"""Stacked bars have the numbers of the records."""

import pytest
from records_of import record_of

from mpqbench.cost.overhead import SOURCES
from mpqbench.records.runs import Runs
from mpqbench.report.looks import Style
from mpqbench.report.stacked import (
    BARS,
    BITOPS_PARTS,
    OTHERS,
    bitops_parts,
    overhead_figures,
    seconds_figures,
    seconds_parts,
)
from mpqbench.report.table import leaderboard


def counted(method, budget="W4A4", seed=0, **changes):
    plain = record_of(method, budget, 7.0, seed=seed)
    overhead = {source: 10**7 * at for at, source in enumerate(SOURCES)}
    linear = plain.costs.bitops_linear
    total = linear + sum(overhead.values()) + 3 * 10**8
    costs = dict(plain.costs) | {"overhead": overhead, "bitops": total} | changes
    return record_of(method, budget, 7.0, seed=seed, costs=costs)


def test_the_parts_add_up_to_bitops():
    records = [counted(m, b, s) for m in "ab" for b in ("W4A4", "W3A3") for s in (0, 1)]
    block = leaderboard([record_of("full-precision", "FP", 1.0), *records]).blocks[0]
    parts = bitops_parts(block)
    assert list(parts[list(BITOPS_PARTS)].sum(axis=1)) == list(parts["bitops"])
    assert parts["rest"].min() == 3 * 10**8
    (figure,) = overhead_figures(block, Style())
    bars = [bar for container in figure.axes[0].containers for bar in container]
    ends = {}
    for bar in bars:
        ends[bar.get_y()] = max(ends.get(bar.get_y(), 0.0), bar.get_x() + bar.get_width())
    assert sorted(ends.values()) == pytest.approx(sorted(parts["bitops"] / 1e9))
    assert sum(bar.get_width() for bar in bars) == pytest.approx(parts["bitops"].sum() / 1e9)


def test_records_from_before_the_rule_have_no_bars():
    block = leaderboard([record_of("old", "W4A4", 7.0), counted("new")]).blocks[0]
    assert list(bitops_parts(block)["method"]) == ["new"]
    assert overhead_figures(leaderboard([record_of("old", "W4A4", 7.0)]).blocks[0], Style()) == []


def test_stages_have_the_mean_time_of_their_seeds():
    stages = [f"stage-{at}" for at in range(11)]
    one = record_of("a", "W4A4", 7.0, seconds={s: float(at + 1) for at, s in enumerate(stages)})
    two = record_of("a", "W4A4", 7.0, seed=1, seconds=dict.fromkeys(stages, 3.0))
    block = leaderboard([one, two]).blocks[0]
    runs = Runs((), (one, two), {})
    parts = seconds_parts(block, runs)
    assert len(parts.columns) == 3 + 8
    assert parts["stage-10"].item() == 7.0
    total = (sum(one.seconds.values()) + sum(two.seconds.values())) / 2
    assert parts.drop(columns=["method", "budget", "format"]).sum(axis=1).item() == total
    assert parts[OTHERS].item() == sum((at + 1 + 3) / 2 for at in range(4))


def test_many_bars_are_pages_of_like_length():
    records = [record_of(f"m{at:02d}", "W4A4", 7.0) for at in range(BARS + 2)]
    pages = seconds_figures(leaderboard(records).blocks[0], Runs((), tuple(records), {}), Style())
    assert [len(page.axes[0].get_yticks()) for page in pages] == [BARS // 2 + 1] * 2
