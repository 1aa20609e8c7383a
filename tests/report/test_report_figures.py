"""Figures and the files of a report."""

import numpy as np
import pytest
from PIL import Image

from mpqbench.core.errors import BenchError
from mpqbench.records.selection import Selection
from mpqbench.records.store import RecordStore
from mpqbench.report.looks import MARKERS, Style
from mpqbench.report.samples import gap_of, grid_pixels, sample_grid, sample_rows
from mpqbench.report.table import leaderboard
from mpqbench.report.tradeoff import pareto_front, points, tradeoff
from mpqbench.report.write import write_report


@pytest.fixture
def records(record):
    return [
        record("full-precision", "FP", 5.0),
        record("rtn", "W8A8", 6.0),
        record("rtn", "W4A4", 8.0),
        record("gptq", "W4A4", 7.0),
        record("gptq", "W2A2", status="diverged", reason="NaN"),
    ]


def flat_images(job, count, channels=1):
    """Image i of a job: one grey value that tells job and i."""
    base = {"full-precision": 10, "rtn": 90, "gptq": 170}[job.split("__")[1]]
    values = (base + np.arange(count)).astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, 8, 8, channels)).copy()


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts]


def test_points_are_ordered_by_cost_and_average_over_seeds(record):
    rows = [record("rtn", b, f, seed=s) for s, f in ((0, 6.0), (1, 8.0)) for b in ("W8A8", "W4A4")]
    line = points(leaderboard(rows).blocks[0])
    assert list(line.budget) == ["W4A4", "W8A8"]
    assert list(line.fd) == [7.0, 7.0]
    assert line.half[0] == pytest.approx(np.std([6, 8], ddof=1))
    single = points(leaderboard(rows[:1]).blocks[0])
    assert (single.fd[0], single.half[0]) == (6.0, 0.5)


def test_tradeoff_names_methods_budgets_reference_and_what_is_missing(records):
    figure = tradeoff(leaderboard(records).blocks[0])
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel().startswith("GBitOPs")
    assert axes.get_ylabel() == "FD (95 % interval)"
    assert figure.legends == []  # names stand beside the lines
    expected = ["W4A4", "W8A8", "full precision 5.00 ±0.50", "gptq", "rtn"]
    assert sorted(texts(figure)) == expected
    assert "Not shown: gptq W2A2 (diverged)." in figure.caption
    assert "fashion-dit at W4A4, W8A8, N = 1000" in figure.caption
    assert figure.get_suptitle() == ""
    single = tradeoff(leaderboard(records[:3]).blocks[0])
    assert "rtn" not in texts(single)


def test_titles_are_drawn_where_they_are_asked_for(records):
    style = Style(Selection(titles=True))
    figure = tradeoff(leaderboard(records).blocks[0], style)
    assert "fashion-dit at W4A4, W8A8, N = 1000" in " ".join(figure.get_suptitle().split())
    assert "Not shown: gptq W2A2" in " ".join(figure.get_supxlabel().split())


def test_a_trade_off_is_drawn_against_any_cost(record):
    rows = [record("full-precision", "FP", 1.0)]
    for method, size in (("a", 2e6), ("b", 5e6)):
        costs = dict(record(method, "W4A4", 3.0).costs) | {"bytes": int(size)}
        rows.append(record(method, "W4A4", 3.0, costs=costs))
    axes = tradeoff(leaderboard(rows).blocks[0], cost="bytes").axes[0]
    assert axes.get_xlabel() == "MB of the model"
    centres = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in MARKERS]
    assert sorted(set(centres)) == [2e6, 5e6]


def test_the_front_is_that_of_comparing_all_pairs():
    rng = np.random.default_rng(3)
    for count in (1, 2, 7, 40, 150):
        costs, values = rng.integers(1, 9, count), rng.integers(1, 9, count)
        beaten = [
            any(c <= cost and v <= value and (c < cost or v < value)
                for c, v in zip(costs, values, strict=True))
            for cost, value in zip(costs, values, strict=True)
        ]  # fmt: skip
        assert list(pareto_front(costs, values)) == [not one for one in beaten]


def test_the_front_is_marked(record):
    cheap, dear, beaten = record("a", "W3A3", 9.0), record("b", "W8A8", 2.0), record("c", "W8A8", 9)
    axes = tradeoff(leaderboard([cheap, dear, beaten]).blocks[0]).axes[0]
    (rings,) = (each for each in axes.collections if each.get_gid() == "pareto")
    marked = sorted(map(tuple, np.asarray(rings.get_offsets())))
    assert marked == [(cheap.costs.bitops, 9.0), (dear.costs.bitops, 2.0)]


def test_grid_puts_every_image_in_its_row_and_column():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (3, 8, 6, 3), dtype=np.uint8)
    grey = rng.integers(0, 255, (3, 8, 6, 1), dtype=np.uint8)
    canvas = grid_pixels([colour, grey])
    gap = gap_of(6)
    for j in range(3):
        left, top = j * (6 + gap), gap // 2
        assert np.array_equal(canvas[top : top + 8, left : left + 6], colour[j])
        top += 8 + gap
        assert np.array_equal(canvas[top : top + 8, left : left + 6], np.repeat(grey[j], 3, 2))
    assert np.all(canvas[:, 6 : 6 + gap] == 255)
    with pytest.raises(BenchError, match="alike"):
        grid_pixels([colour, grey[:2]])
    with pytest.raises(BenchError, match="float64"):
        grid_pixels([colour.astype(float)])


def test_grid_rows_are_full_precision_then_the_leaderboard(records):
    block = leaderboard(records).blocks[0]
    pages = sample_rows(block, lambda job: True)
    assert [[(r["method"], r["budget"]) for r in rows] for rows in pages] == [
        [("full-precision", "FP"), ("rtn", "W8A8"), ("gptq", "W4A4"), ("rtn", "W4A4")]
    ]
    figure = sample_grid(block, pages[0], flat_images, Style(Selection(width=2.7)))
    assert [text.get_text() for text in figure.texts] == [
        "full-precision\nFD 5.00", "rtn\nW8A8 FD 6.00", "gptq\nW4A4 FD 7.00",
        "rtn\nW4A4 FD 8.00",
    ]  # fmt: skip
    shown = figure.axes[0].get_images()[0].get_array()
    gap = gap_of(8)
    columns = (shown.shape[1] + gap) // (8 + gap)
    assert columns == 6  # as many as are 0.3 inches wide
    centres = [
        [int(shown[4 + i * (8 + gap), 4 + j * (8 + gap), 0]) for j in range(6)] for i in range(4)
    ]
    assert centres == [list(range(b, b + 6)) for b in (10, 90, 170, 90)]


def test_prompts_stand_above_their_columns(records):
    block = leaderboard(records).blocks[0]
    (rows,) = sample_rows(block, lambda job: True)
    style = Style(Selection(width=2.7))
    plain = sample_grid(block, rows, flat_images, style)
    texts = ["red heart", "cat", *("a house" for _ in range(8))]
    titled = sample_grid(block, rows, flat_images, style, texts)
    added = [text for text in titled.texts if text.get_text() not in
             {label.get_text() for label in plain.texts}]  # fmt: skip
    assert [text.get_text().replace("\n", "") for text in added][:2] == ["redheart", "cat"]
    assert len(added) == 6  # of the ten, those that have a column
    assert titled.get_figheight() > plain.get_figheight()
    places = [text.get_position() for text in added]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    left, bottom, width, height = titled.axes[0].get_position().bounds
    assert all(left < x < left + width and y >= bottom + height for x, y in places)


def test_grid_pages_repeat_full_precision(record):
    rows = [record("full-precision", "FP", 5.0)]
    rows += [record(f"m{i:02d}", "W4A4", 6.0 + i) for i in range(14)]
    pages = sample_rows(leaderboard(rows).blocks[0], lambda row: "m03" not in row["job"])
    assert [len(page) for page in pages] == [13, 2]
    assert all(page[0]["method"] == "full-precision" for page in pages)
    assert "m03" not in {row["method"] for page in pages for row in page}


def test_write_report_writes_tables_and_figures(records, tmp_path):
    run, out = tmp_path / "demo", tmp_path / "out"
    store = RecordStore(run)
    for entry in records:
        store.write(entry)
        if entry.status == "done":
            path = store.samples_path(entry.job) / "shard-00000000.npz"
            path.parent.mkdir(parents=True)
            np.savez(path, arr_0=flat_images(entry.job, 12, channels=3))
    paths = write_report([run], out)
    assert [str(path.relative_to(out)) for path in paths] == [
        "leaderboard.csv", "leaderboard.md", "leaderboard.tex",
        "figures/fd-bitops-fashion-dit.png", "figures/fd-bitops-fashion-dit.pdf",
        "figures/samples-fashion-dit.png", "figures/samples-fashion-dit.pdf",
        "figures/seconds-fashion-dit.png", "figures/seconds-fashion-dit.pdf",
    ]  # fmt: skip
    assert all(path.stat().st_size > 0 for path in paths)
    with Image.open(out / "figures" / "samples-fashion-dit.png") as picture:
        assert picture.width == 417  # 6.95 inches
        column = np.asarray(picture.convert("L"))[:, 75]  # through the first images
    values = [int(v) for v in column[np.flatnonzero(np.diff(column.astype(int), prepend=-1))]]
    assert [v for v in values if v in (10, 90, 170)] == [10, 90, 170, 90]
    before = {path: path.read_bytes() for path in paths}
    assert write_report([run], out) == paths
    assert {path: path.read_bytes() for path in paths} == before


def test_write_report_adds_a_summary_for_several_seeds_and_splits_blocks(record, tmp_path):
    store = RecordStore(tmp_path)
    for metric in ("m1", "m2"):
        for seed in (0, 1):
            store.write(record("rtn", "W4A4", 6.0 + seed, seed=seed, metric=metric))
    names = {str(path.relative_to(tmp_path)) for path in write_report([tmp_path])}
    assert {"summary.csv", "summary.md"} <= names
    assert "figures/fd-bitops-fashion-dit-m1.png" in names
    assert "figures/fd-bitops-fashion-dit-m2.pdf" in names
    assert not any("samples" in name for name in names)


def test_a_folder_without_records_is_one_sentence(tmp_path):
    with pytest.raises(BenchError, match="has no records: give the folder of a run"):
        write_report([tmp_path])
    assert list(tmp_path.iterdir()) == []
