"""``mpqbench figure``, ``report --paper`` and the figures that are read from files of studies."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from mpqbench.cli.figure import figure
from mpqbench.cli.report import report
from mpqbench.core.errors import BenchError
from mpqbench.records.runs import read_runs
from mpqbench.records.selection import Selection
from mpqbench.report.looks import Style
from mpqbench.report.paper import MOST_ROWS, write_paper
from mpqbench.report.ranges import LayerInputs, quantiles, ranges


@pytest.fixture
def run(store, record):
    for entry in (record("full-precision", "FP", 5.0), record("rtn", "W4A4", 8.0),
                  record("mine_2", "W4A4", 7.0)):  # fmt: skip
        store.write(entry)
    return store.folder


def called(*arguments):
    result = CliRunner().invoke(figure, [str(each) for each in arguments])
    if isinstance(result.exception, BenchError):
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_names_of_all_figures_are_listed():
    names = [line.split()[0] for line in called("--list").splitlines()]
    assert {"tradeoff", "samples", "merge-tree", "branches", "effects", "ranges"} <= set(names)


def test_a_figure_is_as_wide_as_asked(run, tmp_path):
    out = tmp_path / "bytes.pdf"
    told = called("tradeoff", run, "--cost", "bytes", "--width", "5", "--label", "mine_2=Mine",
                  "--highlight", "mine_2", "--out", out)  # fmt: skip
    assert [str(tmp_path / f"bytes.{kind}") in told for kind in ("png", "pdf")] == [True, True]
    assert "FD against bytes: fashion-dit at W4A4, N = 1000" in told
    with Image.open(tmp_path / "bytes.png") as picture:
        assert picture.width == 5 * 60
        assert picture.text["Description"] in told


def test_a_paper_file_sets_what_the_options_do_not(run, tmp_path):
    spec = tmp_path / "paper.yaml"
    spec.write_text(f"runs: [{run}]\nwidth: text\nfigures: {{tradeoff: {{width: 4}}}}\n")
    called("tradeoff", "--spec", spec, "--cost", "bitops", "--out", tmp_path)
    called("seconds", "--spec", spec, "--out", tmp_path)
    widths = []
    for name in ("fd-bitops", "seconds"):
        with Image.open(tmp_path / f"{name}-fashion-dit.png") as picture:
            widths.append(picture.width / 60)
    assert widths == pytest.approx([4, 6.95], abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tradeof", "RUN"], "unknown figure 'tradeof'; did you mean 'tradeoff'"),
        (["tradeoff"], "give the folder of a run: mpqbench figure tradeoff RUN"),
        ([], "give the name of a figure"),
        (["merge-tree", "RUN"], "allow no figure 'merge-tree': it needs searches by 'tss'"),
        (["proxies", "RUN"], "it needs the folder of a study of proxies, with proxies.csv in it"),
        (["tradeoff", "RUN", "--width", "wide"], "width"),
        (["tradeoff", "RUN", "--cost", "byts"], "costs"),
        (["tradeoff", "RUN", "--methods", "mine"], "unknown method 'mine'; did you mean 'mine_2'"),
        (["tradeoff", "RUN", "--layer", "x"], "--model and --layer are of 'ranges' alone"),
        (["ranges", "RUN"], "'ranges' is drawn from a model: give --model and no RUN"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(run, arguments, sentence, tmp_path):
    before = sorted(run.rglob("*"))
    found = called(*(run if each == "RUN" else each for each in arguments))
    assert sentence in found
    assert "\n" not in found
    assert sorted(run.rglob("*")) == before


def test_figures_of_studies_are_read_from_their_files(run, tmp_path):
    for folder in ("one", "two"):
        rows = [
            {"proxy": proxy, "part": part, "tau_fd": tau, "tau_fd_ci": 0.1}
            for proxy, tau in zip("abcdefghij", np.linspace(0.1, 0.9, 10), strict=True)
            for part in ("all", "better half")
        ]
        (tmp_path / folder).mkdir()
        pd.DataFrame(rows).to_csv(tmp_path / folder / "proxies.csv", index=False)
    told = called("proxies", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "out")
    assert "one, two" in told  # without records their names stand for models
    assert (tmp_path / "out/proxies.pdf").stat().st_size > 1000
    assert (tmp_path / "out/proxies-agreement.pdf").stat().st_size > 1000
    (tmp_path / "one/proxies.csv").write_text("proxy\na\n")
    assert "has no column 'part'" in called("proxies", tmp_path / "one")


def test_ranges_are_those_of_the_rows():
    rng = np.random.default_rng(0)
    times = np.repeat([900, 500, 100], 40)
    rows = rng.normal(size=(120, 6)) * np.array([3.0, 2.0, 1.0]).repeat(40)[:, None]
    parts = [rows[times == t] for t in (900, 500, 100)]
    maxima = np.array([np.abs(part).max(0) for part in parts])
    inputs = LayerInputs(
        rows, times, np.array([900, 500, 100]), np.array([p.min() for p in parts]),
        np.array([p.max() for p in parts]), maxima,
    )  # fmt: skip
    assert quantiles(inputs)[1, 2] == pytest.approx(np.median(parts[1]))
    picture = ranges(inputs, "layer", Style())
    shown = picture.axes[1].collections[0].get_array().reshape(6, 3)
    assert shown.max(axis=1).tolist() == sorted(maxima.max(axis=0), reverse=True)
    left, right = picture.axes[1].get_xlim()
    assert left > right  # noise is on the left


def test_a_paper_shows_all_that_it_writes(run, tmp_path):
    result = CliRunner().invoke(report, [str(run), "--paper", str(tmp_path / "paper")])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "paper/main.tex").read_text()
    figures = sorted((tmp_path / "paper/figures").rglob("*.pdf"))
    assert len(figures) == 2
    for path in figures:
        assert f"{{{path.relative_to(tmp_path / 'paper').as_posix()}}}" in text
    assert r"\includegraphics[width=\columnwidth]" in text
    assert r"\input{tables/leaderboard}" in text
    assert (tmp_path / "paper/tables/leaderboard.tex").is_file()
    assert "N = 1000" in text


def test_a_long_table_is_one_for_each_budget(store, record, tmp_path):
    for budget in ("W4A4", "W3A3"):
        for number in range(MOST_ROWS - 5):
            store.write(record(f"m{number:02d}", budget, 5.0 + number))
    paths = write_paper(read_runs([store.folder]), Selection(methods=()), tmp_path)
    names = [path.name for path in paths if path.parent.name == "tables"]
    assert names == ["leaderboard-W4A4.tex", "leaderboard-W3A3.tex"]
