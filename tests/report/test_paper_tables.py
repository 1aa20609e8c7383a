"""Tables of a paper: selections, pivots, baselines, HTML, and the files of ``report --spec``."""

import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from mpqbench.core.errors import BenchError
from mpqbench.records.selection import Selection
from mpqbench.records.statistics import holm
from mpqbench.report.html import to_html
from mpqbench.report.render import print_table, to_csv, to_markdown
from mpqbench.report.table import leaderboard, summary

NASTY = ["<script>alert(1)</script>", "a_b%{}", "=cmd()", "a|b", "**x**"]


@pytest.fixture
def records(record):
    """Three methods at two budgets with full precision."""
    found = [record("full-precision", "FP", 5.0)]
    for at, budget in enumerate(("W4A4", "W3A3")):
        found += [record("rtn", budget, 9.0 + at, wobble=(0.3, -0.1, -0.2))]
        found += [record("gptq", budget, 8.0 + at, wobble=(0.2, -0.1, -0.1))]
        found += [record("treeq", budget, 7.0 + at, wobble=(0.1, 0.1, -0.2))]
    return found


def read(table, **keys):
    return pd.read_csv(io.StringIO(to_csv(table, Selection.model_validate(keys))))


def pipes(markdown):
    lines = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line] for line in lines]


def test_rows_have_the_order_that_is_asked_for(records):
    table = leaderboard(records)
    found = read(table, methods=("rtn", "treeq", "gptq"), budgets=("W3A3", "W4A4"))
    assert found["method"].tolist() == ["full-precision", *["rtn", "treeq", "gptq"] * 2]
    assert found["budget"].tolist() == ["FP", *["W3A3"] * 3, *["W4A4"] * 3]
    found = read(table, order="is")  # larger is better, which is that of the smaller distance
    assert found["method"].tolist() == ["full-precision", *["treeq", "gptq", "rtn"] * 2]


def test_columns_of_a_csv_are_those_selected_with_names_and_intervals(records):
    found = read(leaderboard(records), columns=("delta", "bitops"), labels={"treeq": "ours"})
    assert [*found.columns] == [
        "model", "method", "budget", "format", "seed", "status", "reason", "fd_delta",
        "fd_delta_ci", "bitops",
    ]  # fmt: skip
    assert "treeq" in set(found["method"])


@pytest.mark.parametrize("axis", ["budget", "format", "model"])
def test_a_pivot_holds_the_same_numbers_in_every_form(record, axis):
    values = {"budget": ("W4A4", "W3A3"), "format": ("channel", "g32"), "model": ("a", "b")}[axis]
    records, truth = [], {}
    for at, value in enumerate(values):
        models = {"model": value} if axis == "model" else {}
        if axis == "model" or not at:
            records.append(record("full-precision", "FP", 5.0, **models))
        for number, method in enumerate(("rtn", "gptq")):
            fd = 7.0 + 2 * number + at
            truth[method, value] = fd
            own = {axis: value, "job": f"{value}{method}"}
            records.append(record(method, **{"budget": "W4A4", "fd": fd} | own))
    table, keys = leaderboard(records), Selection(columns=("fd",), pivot=axis, intervals=False)
    csv = pd.read_csv(io.StringIO(to_csv(table, keys))).set_index("method")
    head, _, *lines = pipes(to_markdown(table, "t", keys))
    assert head == ["method", *(f"{value} FD" for value in values)]
    markdown = {line[0]: line[1:] for line in lines}
    assert markdown["full-precision"] == ["5.00", "5.00"]
    console = Console(file=io.StringIO(), width=120, color_system=None)
    print_table(table, console, keys)
    for (method, value), fd in truth.items():
        assert csv.loc[method, f"{value}:fd"] == fd
        cell = markdown[method][values.index(value)]
        assert cell == (f"**{fd:.2f}**" if method == "rtn" else f"{fd:.2f}")
        assert f"{fd:.2f}" in console.file.getvalue()
        assert f"{fd:.2f}</td>" in to_html(table, "t", keys)


def test_a_pivot_refuses_two_rows_for_one_cell(records, record):
    other = record("rtn", "W4A4", 3.0, job="other", recipe={"name": "rtn", "evaluations": 7})
    table = leaderboard([*records, other])
    with pytest.raises(BenchError, match="'rtn' has two rows at budget 'W4A4'"):
        to_markdown(table, "t", Selection(pivot="budget"))


def test_what_fails_stays_visible_in_a_pivot(records, record):
    lost = record("awq", "W4A4", status="diverged", reason="NaN in block 3")
    text = to_markdown(leaderboard([*records, lost]), "t", Selection(pivot="budget"))
    assert "| awq | diverged |" in text
    assert "- awq, W4A4: diverged: NaN in block 3" in text


def test_the_baseline_is_the_best_other_method_but_not_the_highlighted_one(records):
    def baselines(highlight=None):
        rows = leaderboard(records, highlight).rows
        return {r["method"]: r["baseline_method"] for r in rows if r["budget"] == "W4A4"}

    assert baselines() == {"treeq": "gptq", "gptq": "treeq", "rtn": "treeq"}
    assert baselines("treeq") == {"treeq": "gptq", "gptq": "rtn", "rtn": "gptq"}
    with_summary = summary(records, "treeq").frame
    assert not [name for name in with_summary if name.startswith("baseline")]


def test_holm_corrects_each_pair_of_a_budget_once(record):
    wobbles = ((1.0, -2.0, 1.0), (-1.0, 2.0, -1.0), (2.0, -1.0, -1.0), (0.5, 0.5, -1.0))
    records = [record("full-precision", "FP", 1.0)]
    records += [
        record(f"m{at}", "W4A4", 5.0 + 3 * at, wobble=wobble) for at, wobble in enumerate(wobbles)
    ]
    rows = {row["method"]: row for row in leaderboard(records).rows}
    assert rows["m0"]["baseline_p"] == rows["m1"]["baseline_p"]  # one pair, seen from both sides
    family = [rows[f"m{at}"]["baseline_p"] for at in (1, 2, 3)]
    corrected = [rows[f"m{at}"]["baseline_p_holm"] for at in (1, 2, 3)]
    assert corrected == pytest.approx(holm(family))
    assert rows["m0"]["baseline_p_holm"] == corrected[0]
    for at in (1, 2, 3):
        assert rows[f"m{at}"]["baseline_holm"] == ("worse" if corrected[at - 1] < 0.05 else "")
        half = rows[f"m{at}"]["baseline_delta_ci"]
        assert (family[at - 1] < 0.05) == (rows[f"m{at}"]["baseline_delta"] > half)
    assert {row["baseline_holm"] for row in rows.values()} >= {"", "worse"}


def test_hypervolume_is_the_share_of_a_stated_box(record):
    rows = [record("full-precision", "FP", 1.0), record("rtn", "W8A8", 2.0)]
    rows += [record("rtn", "W4A4", 6.0), record("gptq", "W4A4", 10.0)]
    table = leaderboard(rows)
    found = {row["method"]: row["hypervolume"] for row in table.rows}
    # Costs are 64 and 16 of 256; the box ends at a distance of 11.
    union = (256 - 16) * (11 - 6) + (256 - 64) * (6 - 2)
    assert found["rtn"] == pytest.approx(union / (256 * 11))
    assert found["gptq"] == pytest.approx((256 - 16) * (11 - 10) / (256 * 11))
    (note,) = [note for note in table.blocks[0].notes if note.startswith("Hypervolume")]
    assert "(2.56e+10, 11)" in note


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", NASTY)
def test_a_name_of_any_kind_is_text_in_every_form(record, name):
    rows = [
        record("full-precision", "FP", 5.0),
        record(name, "W4A4", 8.0, job="a", format="channel"),
    ]
    table = leaderboard([*rows, record("gptq", "W4A4", 9.0, notes=(name,))])
    others = [record("b", "W4A4", 8.0), record("gptq", "W4A4", 9.0, notes=("c",))]
    plain = leaderboard([*rows[:1], *others])
    for keys in ({}, {"pivot": "budget"}, {"labels": {name: name}, "highlight": name}):
        chosen = Selection.model_validate(keys)
        page = Tags(to_html(table, name, chosen))
        usual = Tags(to_html(plain, "t", Selection.model_validate({**keys, "labels": {}})))
        assert page.tags == usual.tags
        assert name in page.text
        markdown = to_markdown(table, "t", chosen)
        widths = {
            len(re.split(r"(?<!\\)\|", line)) for line in markdown.splitlines() if "| " in line
        }
        assert len(widths) == 1
        assert "<script" not in markdown
        cells = pd.read_csv(io.StringIO(to_csv(table, chosen)), dtype=str).to_numpy().ravel()
        assert not any(str(cell).startswith(("=", "+", "@")) for cell in cells)


PAPER = """\
runs: [run]
labels: {treeq: "TreeQ_1 (ours)"}
highlight: treeq
tables:
  main: {columns: [fd, delta], pivot: budget, intervals: false, caption: "Our caption."}
  w3a3: {budgets: [W3A3], methods: [rtn, treeq]}
"""


@pytest.fixture
def paper(records, store, tmp_path):
    """The file of a paper beside the folder of its run."""
    for each in records:
        store.write(each)
    path = tmp_path / "paper.yaml"
    path.write_text(PAPER, encoding="utf-8")
    return path


def test_the_tables_of_a_paper_are_made_by_one_command(paper, mpqbench, tmp_path):
    assert mpqbench("report", "--spec", paper)[0] == 0
    assert {path.stem for path in tmp_path.glob("*.tex")} == {"main", "w3a3"}
    main = (tmp_path / "main.tex").read_text(encoding="utf-8")
    assert r"\caption{Our caption. $N = 1000$" in main
    assert r"\textbf{TreeQ\_1 (ours)}" in main
    assert r"\label{tab:main}" in main
    other = (tmp_path / "w3a3.tex").read_text(encoding="utf-8")
    assert "W4A4" not in other
    assert "gptq" not in other
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["records"]
    assert mpqbench("report", "--spec", paper, "--methods", "gptq", "--latex")[1].count("gptq") == 2


def test_latex_is_printed_alone_and_a_selection_is_written_only_into_out(paper, mpqbench, tmp_path):
    run = tmp_path / "run"
    code, out, err = mpqbench("report", run, "--columns", "fd", "--latex")
    assert (code, err) == (0, "")
    assert out.startswith("% \\usepackage{booktabs}\n\\begin{table}")
    assert out.endswith("\\end{table}\n")
    assert mpqbench("report", run, "--columns", "fd")[0] == 0
    assert [path.name for path in run.iterdir()] == ["records"]
    given = ("--columns", "fd", "--label", "rtn=Rounding", "--out", tmp_path / "out")
    assert mpqbench("report", run, *given)[0] == 0
    assert "Rounding" in (tmp_path / "out/leaderboard.tex").read_text(encoding="utf-8")
    assert mpqbench("report", run)[0] == 0
    assert (run / "leaderboard.tex").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--methods", "treek"], "unknown method 'treek'; did you mean 'treeq'?"),
        (["--columns", "fd,dleta"], "unknown column 'dleta'; did you mean 'delta'?"),
        (["--order", "fdd"], "unknown column 'fdd'"),
        (["--budgets", "W5A5"], "unknown budget 'W5A5'"),
        (["--highlight", "mine"], "unknown method 'mine'"),
        (["--label", "mine=x"], "unknown method 'mine'"),
        (["--label", "rtn"], "--label 'rtn': write METHOD=TEXT"),
        (["--pivot", "seed"], "pivot must be 'budget'"),
        (["--width", "wide"], "width must be 'column' or 'text'"),
        (["--columns", "seeds", "--latex"], "a table of one seed has no column 'seeds'"),
        (["--site", "x", "--columns", "fd"], "give no other option but --plugins"),
    ],
)
def test_mistakes_are_one_sentence(paper, mpqbench, tmp_path, options, sentence):
    code, out, err = mpqbench("report", tmp_path / "run", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err
    assert not list(tmp_path.glob("**/*.tex"))


def test_a_mistake_in_a_table_of_a_paper_names_it(paper, mpqbench, tmp_path):
    paper.write_text(PAPER + "  bad: {methods: [tree]}\n", encoding="utf-8")
    code, out, err = mpqbench("report", "--spec", paper)
    assert (code, out) == (2, "")
    assert "table 'bad': unknown method 'tree'" in err
    assert not list(tmp_path.glob("*.tex"))
    code, _, err = mpqbench("report")
    assert (code, "give the folder of a run, or --spec" in err) == (2, True)
