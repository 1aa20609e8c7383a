"""Looks that stay the same, and text that can be read and fits, at the width of a column."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from records_of import record_of
from synthetic_search import add_searches

from mpqbench.records.runs import read_runs
from mpqbench.records.selection import Selection
from mpqbench.report.figures import FIGURES, draw
from mpqbench.report.fitting import apart, text_width, wrapped
from mpqbench.report.looks import COLOURS, CONTEXT, MOST, Style, is_context, places_of
from mpqbench.report.table import leaderboard
from mpqbench.report.tradeoff import tradeoff
from mpqbench.report.write import tables_of_runs

EIGHT = [("rtn", 8.0), ("gptq", 7.95), ("quarot", 7.9), ("treeq", 6.0), ("q-dit", 6.05),
         ("svdquant", 6.02), ("vidit-q", 9.5), ("smoothquant", 9.4)]  # fmt: skip


def shown_texts(figure):
    """Every text that is drawn, with its box in pixels."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    for text in figure.findobj(Text):
        ticks = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
        hidden = any(
            text in (tick.label1, tick.label2)
            for axis in ticks
            for tick in axis.get_major_ticks()
            if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        )
        if text.get_text().strip() and text.get_visible() and not hidden:
            # That of an annotation would have its line to a point in it.
            yield text, Text.get_window_extent(text, renderer)


def board(pairs, budgets=("W4A4",)):
    rows = [record_of("full-precision", "FP", 5.0)]
    rows += [record_of(m, b, fd + i, macs=10**8 + 10**6 * at)
             for at, (m, fd) in enumerate(pairs) for i, b in enumerate(budgets)]  # fmt: skip
    return leaderboard(rows).blocks[0]


def test_a_method_looks_the_same_whatever_else_is_shown():
    alone, many = Style(methods=("treeq",)), Style(methods=("rtn", "mine", "treeq", "gptq"))
    for name in ("treeq", "gptq", "rtn"):
        assert alone.look(name) == many.look(name)
    few = many.looks(["mine", "treeq"])
    assert few["mine"] == many.look("mine") == Style(methods=many.methods[::-1]).look("mine")
    assert many.look("mine")["color"] not in {many.look(n)["color"] for n in ("rtn", "gptq")}
    given = Style(Selection(colours={"mine": "#123456"}, highlight="mine"), many.methods)
    assert given.look("mine")["color"] == "#123456"
    assert given.look("mine")["linewidth"] > 1.2
    assert given.look("mine")["zorder"] > given.look("rtn")["zorder"]


def test_methods_of_ones_own_never_share_a_look():
    places = places_of([f"m{i}" for i in range(40)] + ["rtn", "treeq"])
    assert len(set(places.values())) == len(places)


def test_colours_can_be_told_apart_with_deuteranopia_and_protanopia():
    # Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009): full severity, linear RGB.
    kinds = [
        np.eye(3),
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                  [-0.003882, -0.048116, 1.051998]]),
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                  [-0.011820, 0.042940, 0.968881]]),
    ]  # fmt: skip
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )

    def lab(colour, kind):
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        x, y, z = np.cbrt(to_xyz @ np.clip(kind @ linear, 1e-4, 1) / [0.95047, 1, 1.08883])
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    for kind in kinds:
        for one, other in itertools.combinations(COLOURS, 2):
            assert np.linalg.norm(lab(one, kind) - lab(other, kind)) > 15  # 2.3 is just noticeable


def test_more_than_eight_methods_are_grey_context_but_the_highlighted_and_the_best():
    pairs = [(f"m{i:02d}", 6.0 + i) for i in range(13)]
    style = Style(Selection(highlight="m12"), tuple(m for m, _ in pairs))
    looks = style.looks([m for m, _ in pairs])
    coloured = [m for m, look in looks.items() if look["color"] != CONTEXT]
    assert coloured == ["m00", "m01", "m02", "m03", "m04", "m05", "m06", "m12"]
    figure = tradeoff(board(pairs), style)
    colours = {line.get_color() for line in figure.axes[0].lines}
    assert len(colours & set(COLOURS)) <= MOST
    assert "5 others" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("width", ["column", "text"])
def test_names_of_eight_methods_do_not_overlap(width):
    style = Style(Selection(width=width), tuple(m for m, _ in EIGHT))
    figure = tradeoff(board(EIGHT, ("W4A4", "W3A3")), style)
    assert figure.legends == []
    boxes = {t.get_text(): box for t, box in shown_texts(figure)
             if t.get_text() in dict(EIGHT)}  # fmt: skip
    assert set(boxes) == set(dict(EIGHT))
    pairs = itertools.combinations(boxes.values(), 2)
    assert not any(one.overlaps(other) for one, other in pairs)


def test_a_long_name_gets_a_legend_that_fits():
    long = "a method whose name is longer than the column of any paper should have to take"
    style = Style(Selection(labels={"gptq": long}))
    figure = tradeoff(board([("gptq", 7.0), ("rtn", 8.0)]), style)
    assert len(figure.legends) == 1
    for text, box in shown_texts(figure):
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= figure.bbox.width + 1, text.get_text()


def test_text_of_every_figure_is_large_enough_and_on_the_page(store, record):
    add_searches(store, record)
    runs = read_runs([store.folder])
    table = tables_of_runs(runs)["leaderboard"]
    drawn = 0
    for titles in (False, True):
        selection = Selection(titles=titles, labels={"tss": "Tree-structured search (ours)"})
        for name in FIGURES:
            for stem, figure in draw(name, table, runs, selection):
                drawn += 1
                wide, high = figure.bbox.width, figure.bbox.height
                for text, box in shown_texts(figure):
                    where = stem, text.get_text()
                    assert text.get_fontsize() >= 6.5, where
                    assert min(box.x0, box.y0) >= -1, where
                    assert max(box.x1 - wide, box.y1 - high) <= 1, where
    assert drawn >= 20


def test_heights_are_apart_and_as_near_as_they_can_be():
    assert apart([0.2, 0.8], 0.1) == [0.2, 0.8]
    assert apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert apart([0.0, 0.01, 0.99, 1.0], 0.1) == pytest.approx([0.05, 0.15, 0.85, 0.95])
    heights = apart([0.4] * 5, 0.2)
    assert np.diff(heights) == pytest.approx([0.2] * 4)


def test_wrapped_lines_are_no_wider_than_allowed():
    text = "a fairly long label with averyveryverylongwordthatmustbebroken in it"
    lines = wrapped(text, 1.0, 7.0).split("\n")
    assert all(text_width(line, 7.0) <= 1.0 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_long_word_is_broken_behind_its_hyphens():
    assert wrapped("man student medium-light-skin", 0.65, 7.0).split("\n") == [
        "man student", "medium-", "light-skin",
    ]  # fmt: skip


def test_methods_in_colour_in_one_figure_have_different_colours():
    names = ["treeq", "tss", "groups-corrected", "svdquant-corrected", "quarot", "quarot-corrected"]
    many = [*names, "gptq", "gptq-corrected", "greedy", "ilp"]
    style = Style(Selection.model_validate({"highlight": "ilp"}), tuple(many))
    looks = style.looks(many)
    shown = [look["color"] for look in looks.values() if not is_context(look)]
    assert len(shown) == len(set(shown)) == 8
    assert looks["treeq"]["color"] == style.look("treeq")["color"]
    own = Style(Selection.model_validate({"colours": {"tss": "#009E73"}}), tuple(many))
    assert own.looks(many)["tss"]["color"] == "#009E73"
