"""Pages of results say what the records beside them say."""

from pathlib import Path

import pandas as pd
import pytest

from mpqbench.core.errors import BenchError
from mpqbench.report.page_data import grouped
from mpqbench.report.pages import About, fill, make_pages

ROOT = Path(__file__).parents[2]
LEADERBOARDS, PAGES = ROOT / "leaderboards", ROOT / "docs/results"
COMMAND = "mpqbench report leaderboards --pages docs/results --fill README.md"
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


def test_no_page_is_stale():
    texts = make_pages(LEADERBOARDS, PAGES)
    texts[ROOT / "README.md"] = fill(ROOT / "README.md", LEADERBOARDS, PAGES)
    stale = [path.name for path, text in texts.items() if path.read_text() != text]
    assert not stale, f"{', '.join(stale)}: run `{COMMAND}`"
    assert {*PAGES.iterdir()} == {path for path in texts if path.parent == PAGES}
    measured = {path.parent.name for path in LEADERBOARDS.glob("*/records")}
    assert measured == {p.stem for p in texts} - {"README"}


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


def test_a_table_and_the_links_of_a_page(folder, tmp_path):
    page = About.read(folder).page(tmp_path / "out")
    assert "**Answer.** 0.5 is best." in page
    lines = [
        "| method | W4A4 FD | W3A3 FD |",
        "| --- | ---: | ---: |",
        "| `two` | 0.5 ±0.1 | infeasible |",
        "| first | 1.0 ±0.2 | 2.0 |",
    ]
    assert "\n".join(lines) in page
    assert "[the other page](b.md#x), ![a picture](../boards/a/figures/p.png)" in page
    assert "[the web](https://example.org)" in page
    assert "[t.csv](../boards/a/t.csv)" in page


def test_marked_blocks_of_a_file(folder, tmp_path):
    path = tmp_path / "FILE.md"
    path.write_text("x\n<!-- results: headlines a -->\nold\n<!-- end of results -->\ny\n")
    text = fill(path, folder.parent, tmp_path / "out")
    line = "- 0.5 is best. ([a](out/a.md))"
    assert text == f"x\n<!-- results: headlines a -->\n{line}\n<!-- end of results -->\ny\n"
    path.write_text("<!-- results: headlines b -->\n<!-- end of results -->\n")
    with pytest.raises(BenchError, match="no results called 'headlines b'"):
        fill(path, folder.parent, tmp_path / "out")


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
        About.read(folder).page(folder)


def test_means_over_seeds_have_the_interval_of_independent_means():
    frame = pd.DataFrame({"m": ["a", "a", "b"], "fd": [1.0, 3, 8], "fd_ci": [3.0, 4, 1]})
    means = grouped(frame, ["m"])
    assert means.m.tolist() == ["a", "b"]
    assert means.fd.tolist() == [2, 8]
    assert means.fd_ci.tolist() == [2.5, 1]


def test_the_verb_writes_pages_and_fills_files(folder, tmp_path, mpqbench):
    path = tmp_path / "FILE.md"
    path.write_text("<!-- results: table a -->\n<!-- end of results -->\n")
    out = tmp_path / "out"
    code, _, _ = mpqbench("report", folder.parent, "--pages", out, "--fill", path)
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"a.md", "README.md"}
    assert "| first | 1.0 ±0.2 | 2.0 |" in path.read_text()
    assert mpqbench("report", folder.parent, "--fill", path)[0] == 2
    assert mpqbench("report", tmp_path / "out", "--pages", out)[0] == 2
