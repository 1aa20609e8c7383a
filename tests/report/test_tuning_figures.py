"""The course of training as a figure, from synthetic curves."""

import math

import pandas as pd
import pytest

from mpqbench.records.runs import read_runs
from mpqbench.records.store import RecordStore
from mpqbench.report.table import leaderboard
from mpqbench.report.tuning import course, courses, tuning
from mpqbench.report.write import write_report
from mpqbench.tuning.loop import COLUMNS, TrainingCurve


def curve(losses, every=100):
    """A training judged at these losses, whose training loss is a tenth below."""
    rows = [(0, math.nan, losses[0], 1.0, 0.0)]
    rows += [(i * every, 0.9 * x, x, 1.0, float(i)) for i, x in enumerate(losses) if i]
    return TrainingCurve(rows, "steps")


@pytest.fixture
def store(store, record):
    """Two tuned methods of three seeds and a plain one, the second at one budget alone."""
    for seed in range(3):
        store.write(record("full-precision", "FP", 1.0, seed=seed))
        for budget, start in (("W4A4", 0.02), ("W3A3", 0.2)):
            store.write(record("rtn", budget, 9.0, seed=seed))
            peft = [start * factor * (1 + 0.02 * seed) for factor in (1, 0.7, 0.5, 0.45, 0.47)]
            qat = [start * factor * (1 + 0.03 * seed) for factor in (1, 0.9, 0.5, 0.3, 0.25)]
            for method, losses in (("gptq-peft", peft), ("gptq-qat", qat)):
                if (method, budget) != ("gptq-qat", "W4A4"):
                    own = record(method, budget, 5.0, seed=seed)
                    store.write(own)
                    curve(losses[: 5 - (seed == 2)]).write(store.trace_path(own.job, "tuning"))
    return store


@pytest.fixture
def found(store):
    (block,) = leaderboard(store.read_all()).blocks
    return courses(block, read_runs([store.folder]))


def frames(*losses):
    return [pd.DataFrame(curve(own).rows, columns=list(COLUMNS)) for own in losses]


def test_seeds_are_averaged_at_the_steps_they_share():
    own = course("m", frames([4.0, 2.0, 1.0], [6.0, 4.0]))
    assert list(own.held_out.index) == [0, 100]
    assert own.held_out.loc[100].tolist() == [3.0, 2.0, 4.0, 2]
    assert list(own.training.index) == [100]


def test_there_is_a_panel_for_each_budget_with_tuned_jobs(found):
    assert {budget: [own.method for own in panel] for budget, panel in found.items()} == {
        "W4A4": ["gptq-peft"],
        "W3A3": ["gptq-peft", "gptq-qat"],
    }
    figure = tuning("fashion-dit", found)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "W4A4",
        "W3A3",
    ]
    assert all(axes.get_yscale() == "log" for axes in figure.axes)
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown[:2] == ["gptq-peft", "gptq-qat"]
    assert shown[2:] == ["held-out, least marked", "training", "untuned"]


def test_lines_hold_the_numbers(found):
    axes = tuning("fashion-dit", found).axes[1]
    untuned, held_out, training, best = axes.lines[:4]
    assert untuned.get_ydata()[0] == pytest.approx(0.2 * 1.02)
    assert list(held_out.get_xdata()) == [0, 100, 200, 300]  # the third seed ended there
    assert held_out.get_ydata()[2] == pytest.approx(0.1 * 1.02)
    assert list(training.get_xdata()) == [100, 200, 300]
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (300, pytest.approx(0.09 * 1.02))
    low, high = axes.get_ylim()
    assert low < min(held_out.get_ydata()) < untuned.get_ydata()[0] < high
    inside = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert len(inside) >= 3


def test_a_perfect_student_is_drawn_too():
    own = course("m", frames([1.0, 0.0]))
    first, *_ = tuning("tiny", {b: [own] for b in ("W8A8", "W4A4", "W3A3")}).axes
    assert first.get_yscale() == "linear"


def test_the_report_has_it_where_something_was_tuned(store, record, tmp_path):
    plain = RecordStore(tmp_path / "plain")
    plain.write(record("rtn", "W4A4", 9.0))
    assert not courses(leaderboard(plain.read_all()).blocks[0], read_runs([plain.folder]))
    paths = write_report([store.folder], tmp_path / "out")
    names = {path.name for path in paths if path.name.startswith("tuning")}
    assert names == {"tuning-fashion-dit.png", "tuning-fashion-dit.pdf"}
    assert all((tmp_path / "out" / "figures" / name).stat().st_size > 1000 for name in names)
