"""What the figures of a search show, read back from the drawings."""

import pytest
from synthetic_search import add_search, add_searches

from mpqbench.baselines.searchers.ilp import ILP
from mpqbench.methods.treeq.tss import TSS
from mpqbench.records.frame import records_frame
from mpqbench.records.runs import read_runs
from mpqbench.records.statistics import over_seeds
from mpqbench.report.looks import Style
from mpqbench.report.search.anytime import anytime
from mpqbench.report.search.maps import ROWS, allocation_map, allocation_maps, sensitivity_map
from mpqbench.report.search.merges import merge_tree, pareto_drop
from mpqbench.report.search.runs import comparisons, read_table
from mpqbench.report.search.scan import scan, sweep_series
from mpqbench.report.table import leaderboard

JOB = "fashion-dit__tss__W3A3__s0__m1"


@pytest.fixture
def searches(store, record):
    return add_searches(store, record)


def only_comparison(records):
    (comparison,) = comparisons(leaderboard(records))
    return comparison


def overlapping(figure):
    """Pairs of texts in the same axes that cover each other."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        ticks = [t for t in axes.get_xticklabels() if left <= t.get_position()[0] <= right]
        ticks += [t for t in axes.get_yticklabels() if low <= t.get_position()[1] <= high]
        texts = [*axes.texts, *ticks, axes.xaxis.label, axes.yaxis.label, axes.title]
        shown = [text for text in texts if text.get_text() and text.get_visible()]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
        for i, (text, box) in enumerate(boxes):
            yield from ((text, other) for other, own in boxes[:i] if box.overlaps(own))


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_anytime_shows_scores_above_and_answers_below(store, searches):
    (figure,) = anytime(only_comparison(searches), read_runs([store.folder]))
    upper, lower = figure.axes
    assert legend(figure) == ["ilp", "random", "tss", "tss-2", "tss-3", "rtn (no search)"]
    assert upper.get_ylabel().startswith("best output-mse")
    assert "held-out" in lower.get_ylabel()
    assert lower.get_xscale() == "log"
    note = figure.note
    assert note.startswith("One seed.")
    assert note.endswith("No complete allocation scored by: ilp.")
    marks = [line for line in lower.lines if line.get_marker() not in ("", "None", None)]
    assert sorted(line.get_ydata()[0] for line in marks) == pytest.approx([0.2, 0.3, 0.3, 0.4, 0.4])
    assert list(overlapping(figure)) == []


def test_a_tree_of_48_groups_is_readable(store, record):
    entry, problem = add_search(
        store, record("tss", "W3A3", 7.0), TSS(keep=4), {"name": "tss"}, groups=48
    )
    figure = merge_tree(read_table(read_runs([store.folder]), entry.job, "merges"), "tss")
    axes = figure.axes[0]
    assert len(axes.texts) == 47  # one label a merge
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == [group.removeprefix("blocks.") for group in problem.groups]
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    assert rows[:2] == ["48 leaves\n192 → 192", "24 merges\n384 → 96"]
    assert list(overlapping(figure)) == []


def test_pareto_drop_colours_what_was_kept(store, searches):
    merges = read_table(read_runs([store.folder]), JOB, "merges")
    figure = pareto_drop(merges, [28, 30], ("tss", "output-mse"))
    for axes, node in zip(figure.axes, (28, 30), strict=True):
        own = merges[merges.node == node]
        dropped, kept = (len(points.get_offsets()) for points in axes.collections)
        assert (dropped, kept) == ((~own.kept).sum(), own.kept.sum())
    assert sorted(legend(figure)) == ["dropped", "kept", "undominated"]
    assert list(overlapping(figure)) == []


def test_allocation_maps_number_every_cell(store, searches):
    comparison = only_comparison(searches)
    (figure,) = allocation_maps(comparison, read_runs([store.folder]))
    methods = sorted(comparison.searches)
    assert len(figure.axes) == 2 * len(methods)
    assert figure.title == "Bits of fashion-dit, W3A3, seed 0; adaln at W8A8"
    for number, method in enumerate(methods):
        allocation = store.read_allocation(comparison.searches[method].job.iloc[0])
        weights, activations = figure.axes[2 * number : 2 * number + 2]
        assert weights.get_title(loc="left") == f"{method}: W 3.00"
        for w, a in zip(weights.texts, activations.texts, strict=True):
            assert w.get_position() == a.get_position()
            block, row = w.get_position()
            kind = weights.get_yticklabels()[row].get_text()
            assert allocation[f"blocks.{block}.{kind}"] == f"W{w.get_text()}A{a.get_text()}"
        assert len(weights.texts) == 16
    mixed = {"blocks.0.adaln": "W8A8", "blocks.1.adaln": "FP", "blocks.0.mlp.up": "W2A3"}
    axes = allocation_map("t", [({"method": "m", "mean_weight_bits": None}, mixed)]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["8", "FP", "2"]


def test_cells_without_room_have_colours_in_a_legend_and_pluses():
    groups = {f"blocks.{i}.mlp.up": f"W{2 + i % 3}A4{'' if i % 2 else '-'}" for i in range(28)}
    figure = allocation_map("t", [({"method": "m"}, groups)], Style())
    assert [text for axes in figure.axes for text in axes.texts] == []
    assert legend(figure) == ["2 bits", "3 bits", "4 bits"]
    assert list(figure.axes[0].lines[0].get_xdata()) == list(range(1, 28, 2))


def test_sensitivities_have_one_scale_of_bits(store, searches):
    comparison = only_comparison(searches)
    table = read_table(read_runs([store.folder]), comparison.searches["ilp"].job.iloc[0], "table")
    figure = sensitivity_map(table, "W4A4", "ilp", "output-mse")
    heat, weights, activations, _bar = figure.axes
    shown = heat.get_images()[0].get_array()
    at = table[table.precision == "W4A4"].set_index("group").score
    for row, kind in enumerate(tick.get_text() for tick in heat.get_yticklabels()):
        assert list(shown[row]) == [at[f"blocks.{block}.{kind}"] for block in range(4)]
    assert weights.get_ylim() == activations.get_ylim()
    assert weights.get_yscale() == "log"
    means = [value for axes in (weights, activations) for line in axes.lines
             for value in line.get_ydata()]  # fmt: skip
    low, high = weights.get_ylim()
    assert low < min(means) < max(means) < high


def test_a_scan_shows_the_answers_by_the_number(store, searches):
    comparison = only_comparison(searches)
    figure = scan(comparison, sweep_series(comparison.rows))
    error, distance = figure.axes
    line = error.lines[0]
    assert list(line.get_xdata()) == [2, 3, 4]
    assert list(line.get_ydata()) == pytest.approx([0.2, 0.3, 0.4])
    assert list(distance.lines[0].get_ydata()) == [7.0, 7.0, 7.0]
    assert distance.get_ylabel() == "FD (N = 1000)"
    assert error.get_xlabel() == "searcher.keep"
    assert legend(figure) == ["tss", "rtn (no search)"]
    assert "95 % jackknife interval" in figure.caption
    assert list(overlapping(figure)) == []


def test_level_lines_of_a_scan_may_be_given(searches, record):
    comparison = only_comparison(searches)
    full = records_frame([record("full-precision", "FP", 6.5)])
    level = {"full-precision": full, "rtn": comparison.plain["rtn"]}
    figure = scan(comparison, sweep_series(comparison.rows), level)
    assert legend(figure) == ["tss", "rtn", "full-precision"]  # full precision has no error
    levels = [
        {line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]}
        for axes in figure.axes
    ]
    means = [over_seeds(level["rtn"], metric).mean for metric in ("output_mse", "fd")]
    assert levels == [{means[0]}, {means[1], 6.5}]


def test_many_methods_go_on_a_second_page(store, record):
    for number in range(ROWS + 1):
        entry = record(f"m{number}", "W3A3", 7.0)
        add_search(store, entry, ILP(), {"name": "ilp"}, groups=4)
    pages = allocation_maps(only_comparison(store.read_all()), read_runs([store.folder]))
    assert [len(page.axes) for page in pages] == [2 * ROWS, 2]
