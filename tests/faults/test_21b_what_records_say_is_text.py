"""What a record says is shown as text: no formula, control sequence, markup or number too large."""

import io
import json

import pandas as pd
import pytest
from records_of import record_of
from rich.console import Console

from mpqbench.records.store import RecordStore
from mpqbench.report.html import to_html
from mpqbench.report.latex import to_latex
from mpqbench.report.render import print_table, to_csv, to_markdown
from mpqbench.report.table import leaderboard

NASTY = [
    "=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "a\x1b[31mred\x07", "two\nlines\r| x",
    "[/bold] [link](http://x)", "<script>", "$\\frac{$", "`code` *star*", "\u202egnp", "\x9b2J",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_texts_of_a_record_are_harmless_in_every_form(text):
    records = [
        record_of("full-precision", "FP", 5.0, model=text, job="a"),
        record_of("rtn", "W4A4", 9.0, model=text, job="b", notes=(text,)),
        record_of("gptq", "W4A4", status="failed", reason=text, model=text, job="c"),
    ]
    table = leaderboard(records)
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    print_table(table, console)
    shown = console.file.getvalue()
    page = to_html(table, "t")
    assert "<script>" not in page
    for form in (to_csv(table), to_markdown(table, "t"), to_latex(table, "t"), shown, page):
        assert all(c.isprintable() or c == "\n" for c in form)
    cells = pd.read_csv(io.StringIO(to_csv(table)), dtype=str)[["model", "reason", "notes"]]
    assert len(cells) == 3
    assert not any(str(c)[0] in "=+-@\t" for c in cells.to_numpy().ravel())
    markdown = to_markdown(table, "t").replace("\\]", "").replace("\\`", "").replace("\\*", "")
    assert "<script" not in markdown
    assert "](" not in markdown or "[" not in markdown
    assert "`code`" not in markdown


@pytest.mark.parametrize("text", ["$\\frac{$", "a$b$", "=1\n\x1b[0m", "x" * 300])
def test_figures_are_drawn_whatever_a_model_or_a_reason_is_called(mpqbench, tmp_path, text):
    store = RecordStore(tmp_path)
    store.write(record_of("full-precision", "FP", 5.0, model=text, job="a"))
    store.write(record_of("rtn", "W4A4", 9.0, model=text, job="b"))
    store.write(record_of("gptq", "W4A4", status="failed", reason=text, model=text, job="c"))
    assert mpqbench("report", tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("scores", "fd", "value"), 1e308),
        (("scores", "fd", "ci"), 1e200),
        (("scores", "fd", "replicates", 0), -1e308),
        (("costs", "bitops"), 10**400),
        (("costs", "bytes"), 2**63),
        (("seed",), 10**400),
        (("n_images",), 10**30),
        (("seconds", "sample"), 1e308),
        (("peak_mb",), 1e308),
        (("search_evals",), 1e308),
        (("recipe", "evaluations"), 10**400),
        (("protocol", "steps"), 10**400),
        (("provenance", "ram_gb"), 1e308),
    ],
)
def test_numbers_too_large_are_refused_in_one_sentence(mpqbench, tmp_path, path, value):
    store = RecordStore(tmp_path)
    file = store.write(record_of("rtn", "W4A4", 9.0, job="b"))
    data = json.loads(file.read_text(encoding="utf-8"))
    data.pop("checksum", None)
    *way, last = path
    part = data
    for key in way:
        part = part[key]
    part[last] = value
    file.write_text(json.dumps(data), encoding="utf-8")
    code, _, err = mpqbench("report", tmp_path)
    assert code == 2
    assert str(file) in err
    assert err.count("\n") == 1


def test_the_largest_numbers_that_are_allowed_are_shown(mpqbench, tmp_path, undrawn):
    store = RecordStore(tmp_path)
    store.write(record_of("full-precision", "FP", -1e100, job="a"))
    store.write(record_of("rtn", "W4A4", 1e100, job="b"))
    assert mpqbench("report", tmp_path)[0] == 0
    assert (
        max(map(len, (tmp_path / "leaderboard.md").read_text(encoding="utf-8").splitlines())) < 500
    )


def test_a_text_that_is_no_unicode_is_refused(mpqbench, tmp_path):
    file = RecordStore(tmp_path).write(record_of("rtn", "W4A4", 9.0, job="b"))
    data = json.loads(file.read_text(encoding="utf-8")) | {"model_digest": "\ud800"}
    del data["checksum"]
    file.write_text(json.dumps(data), encoding="utf-8")
    code, _, err = mpqbench("report", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{file} is corrupt" in err


def test_a_reason_that_is_no_unicode_is_kept_with_backslashes():
    record = record_of("rtn", status="failed", reason="no file a\udcff")
    assert record.reason == "no file a\\udcff"
    to_csv(leaderboard([record])).encode()
