"""Pages of results say what the records beside them say."""

from pathlib import Path

import pandas as pd
import pytest
from records_of import record_of

from mpqbench.core.errors import BenchError
from mpqbench.records.board import Manifest, boards_in, kept_files
from mpqbench.records.statistics import combined_half_width, paired_replicates
from mpqbench.records.store import RecordStore
from mpqbench.report.boards import index_is_stale, is_quoted, published_page, stale
from mpqbench.report.page_data import grouped
from mpqbench.report.pages import About, fill, index

ROOT = Path(__file__).parents[2]
LEADERBOARDS = ROOT / "leaderboards"
BOARDS = boards_in(LEADERBOARDS)
COMMAND = "mpqbench leaderboard build --fill README.md"
ABOUT = """---
question: Which is best?
headline:
  text: "{{best}} is best."
  values: {{best: {{from: t.csv, where: fd < 1, cell: "{{fd:.1f}}"}}}}
---
# A title

```table
{}
```

See [the other page](../b/about.md#x), ![a picture](figures/p.png) and [the web](https://example.org).
"""
TABLE = """from: t.csv
rows: [method]
labels: {two: "`two`", one: first}
across: {budget: [W4A4, W3A3]}
columns: {FD: ["{fd:.1f} ±{ci:.1f}", "{fd:.1f}"]}"""


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_no_committed_rendering_is_stale(board):
    assert [path.name for path in stale(board)] == [], f"run `{COMMAND}`"
    if not is_quoted(board):
        assert Manifest.read(board).differences(kept_files(board)) == {}


def test_neither_the_index_nor_the_readme_is_stale():
    readme = ROOT / "README.md"
    assert not index_is_stale(LEADERBOARDS), f"run `{COMMAND}`"
    for page in (readme, ROOT / "docs/two-models.md"):
        assert page.read_text() == fill(page, LEADERBOARDS), f"run `{COMMAND}` for {page.name}"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "boards/a"
    folder.mkdir(parents=True)
    (folder / "about.md").write_text(ABOUT.format(TABLE))
    rows = {
        "method": ["one", "one", "two", "two", "three"],
        "budget": ["W4A4", "W3A3", "W4A4", "W3A3", "W4A4"],
        "fd": [1.0, 2.0, 0.5, None, 9.0],
        "ci": [0.25, None, 0.1, None, 1.0],
        "status": ["done", "done", "done", "infeasible", "done"],
    }
    pd.DataFrame(rows).to_csv(folder / "t.csv", index=False)
    return folder


def test_a_table_and_the_links_of_a_page(folder):
    page = About.read(folder).page()
    assert "**Answer.** 0.5 is best." in page
    lines = [
        "| method | W4A4 FD | W3A3 FD |",
        "| --- | ---: | ---: |",
        "| `two` | 0.5 ±0.1 | infeasible |",
        "| first | 1.0 ±0.2 | 2.0 |",
    ]
    assert "\n".join(lines) in page
    assert "[the other page](../b/README.md#x), ![a picture](figures/p.png)" in page
    assert "[the web](https://example.org)" in page
    assert "[t.csv](t.csv)" in page


def test_marked_blocks_of_a_file(folder, tmp_path):
    path = tmp_path / "FILE.md"
    path.write_text("x\n<!-- results: headlines a -->\nold\n<!-- end of results -->\ny\n")
    text = fill(path, folder.parent)
    line = "- 0.5 is best. ([a](boards/a/README.md))"
    assert text == f"x\n<!-- results: headlines a -->\n{line}\n<!-- end of results -->\ny\n"
    path.write_text("<!-- results: headlines b -->\n<!-- end of results -->\n")
    with pytest.raises(BenchError, match="no results called 'headlines b'"):
        fill(path, folder.parent)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("from: t.csv\nrows", "from: other.csv\nrows", "names other.csv"),
        ("two: ", "four: ", "no row called four"),
        ('{fd:.1f}"]', '{psnr:.1f}"]', "no column 'psnr'"),
        ("fd < 1", "fd < 5", "'best' is of 3 rows"),
        ("rows:", "lines:", "rows"),
        ("# A title", "A title", "does not begin with a header"),
    ],
)
def test_mistakes_in_an_about_file(folder, old, new, sentence):
    path = folder / "about.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(BenchError, match=sentence):
        About.read(folder).page()


def test_means_over_seeds_have_the_interval_of_independent_means():
    frame = pd.DataFrame({"m": ["a", "a", "b"], "fd": [1.0, 3, 8], "fd_ci": [3.0, 4, 1]})
    means = grouped(frame, ["m"])
    assert means.m.tolist() == ["a", "b"]
    assert means.fd.tolist() == [2, 8]
    assert means.fd_ci.tolist() == [2.5, 1]


@pytest.fixture
def published(tmp_path):
    """A copy of the quoted results, as the only leaderboard of a folder."""
    path = tmp_path / "boards/published/published.csv"
    path.parent.mkdir(parents=True)
    path.write_text((LEADERBOARDS / "published/published.csv").read_text())
    return path


def test_quoted_results_have_their_sources(published):
    page = published_page(published)
    rows = pd.read_csv(published)
    assert sum(line.startswith("| ") and " [" in line for line in page.split("\n")) == len(rows)
    assert "(https://arxiv.org/abs/2406.17343)" in page
    first = [c.strip() for c in page.split("| full precision |", 1)[1].split("\n", 1)[0].split("|")]
    assert first[:8] == ["32/32", "DDPM", "250", "1.0", "50000", "9.62", "6.85", "121.50"]


def test_a_quoted_result_without_its_source_is_refused(published, mpqbench):
    text = published.read_text().replace('"LazyDiT Table 1"', "", 1)
    published.write_text(text)
    code, out, err = mpqbench("leaderboard", "build", "--folder", published.parents[1])
    assert (code, "line 5: a quoted result needs its source" in err) == (2, True)
    assert not (published.parent / "README.md").exists()
    code, out, err = mpqbench("leaderboard", "check", "--folder", published.parents[1])
    assert (code, "line 5: a quoted result needs its source" in out) == (1, True)


def test_the_verb_builds_pages_and_fills_files(published, tmp_path, mpqbench, record):
    board, path = published.parents[1] / "mine", tmp_path / "FILE.md"
    for each in (
        record("full-precision", "FP", 1.0),
        record("<b>|=x()", fd=2.0, job="x__W4A4__s0"),
    ):
        RecordStore(board).write(each)
    code, _, err = mpqbench("leaderboard", "build", "--folder", board.parent)
    assert code == 0, err  # without an about.md the page is the table
    assert r"&lt;b>\|=x()" in (board / "README.md").read_text()
    (board / "about.md").write_text("""---
question: Which?
---
# Mine

```table
from: leaderboard.csv
rows: [method]
columns: {FD: "{fd:.1f}"}
```
""")
    path.write_text("<!-- results: table mine -->\n<!-- end of results -->\n")
    code, _, err = mpqbench("leaderboard", "build", "--folder", board.parent, "--fill", path)
    assert code == 0, err
    assert "| full-precision | 1.0 |\n| &lt;b>\\|=x() | 2.0 |" in path.read_text()
    assert "| [mine](mine/README.md) | Which? |  |" in index(board.parent)
    assert "[published](published/README.md)" in (board.parent / "README.md").read_text()
    assert r"&lt;b>\|=x()" in (board / "leaderboard.md").read_text()


def test_rows_may_be_compared_with_another_format_and_realizations_are_one_row(tmp_path):
    store = RecordStore(tmp_path / "a")
    wobble = (0.3, -0.1, -0.2)
    for number, (method, form, fd) in enumerate(
        [("gptq", "channel", 2.0), ("gptq", "g32", 1.0), ("gptq", "g32", 1.5), ("rtn", "g32", 3.0)]
    ):
        end = {"realization": int(fd == 1.5), "format": form, "job": f"job-{number}"}
        store.write(record_of(method, "W3A3", fd, wobble=wobble, **end))
    page = "---\nquestion: q\n---\n# t\n\n```table\nfrom: records\nrows: [method]\n{}\n```\n"
    shown = 'across: {format: [g32]}\ncolumns: {less: "{less:+.2f} ±{less_ci:.2f}"}\n'
    half = combined_half_width(paired_replicates(wobble, wobble), [(0.125 / 2, 1)])
    (tmp_path / "a/about.md").write_text(page.format(f"instead: {{format: channel}}\n{shown}"))
    assert f"| gptq | -0.75 ±{half:.2f} |" in About.read(tmp_path / "a").page()
    (tmp_path / "a/about.md").write_text(page.format(f"against: rtn\n{shown}"))
    assert f"| gptq | -1.75 ±{half:.2f} |" in About.read(tmp_path / "a").page()
