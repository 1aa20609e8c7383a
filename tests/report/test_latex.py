"""LaTeX of tables: what is marked, what fits, and that names of any kind are text."""

import random
import re
import shutil
import subprocess

import pytest

from mpqbench.records.selection import Selection
from mpqbench.report.latex import COLUMN, TEXT, to_latex, width
from mpqbench.report.latex_text import breakable, escape, text_width
from mpqbench.report.pivot import grids
from mpqbench.report.table import leaderboard, summary

NASTY = [
    "<script>alert(1)</script>", "a_b%{}", "=cmd()", "[x]*y", "--weird``", "\\frac{$",
    "~^#&|\"'", "\u4e2d ω Δ 😀", "é ü ß ł",
]  # fmt: skip


@pytest.fixture
def table(record):
    """Two budgets; at one of them two methods that compete, one over budget, one that failed."""
    return leaderboard([
        record("full-precision", "FP", 5.0),
        record("rtn", "W4A4", 8.0),
        record("gptq", "W4A4", 6.5),
        record("greedy", "W4A4", 2.0, satisfied=False),
        record("gptq", "W3A3", 9.5),
        record("rtn", "W3A3", status="diverged", reason="NaN"),
    ])  # fmt: skip


def rows_of(latex):
    body = latex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    lines = [line for line in body.strip().split("\n") if "rule" not in line]
    rows = [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in lines]
    return [[cell.strip() for cell in row] for row in rows]


def test_marks_are_among_the_rows_that_compete(table):
    latex = to_latex(table, "Demo", Selection(columns=("fd", "bitops"), intervals=False))
    head, *rows = rows_of(latex)
    assert head == ["method", "budget", r"FD $\downarrow$", "GBitOPs"]
    assert rows == [
        ["full-precision", "FP", "5.00", "25.600"],
        ["gptq", "W4A4", r"\textbf{6.50}", "1.600"],
        ["rtn", "W4A4", r"\underline{8.00}", "1.600"],
        ["greedy", "W4A4", r"2.00\dag{}", "1.600"],
        ["gptq", "W3A3", "9.50", "0.900"],
        ["rtn", "W3A3", r"\emph{diverged}", "--"],
    ]
    assert latex.count(r"\midrule") == 3  # under the heads, and around a budget
    (caption,) = re.findall(r"\\caption\{(.*)\}", latex)
    assert caption == (
        "Demo, fashion-dit. $N = 1000$ images, reference embedded, FD (not FID) in features "
        r"fashion. Best in bold, second underlined. \dag{}: over budget."
    )


def test_intervals_are_small_and_told_or_left_out(table):
    latex = to_latex(table, "Demo", Selection(columns=("fd",)))
    assert r"\textbf{6.50}{\scriptsize\,$\pm$\,0.50}" in latex
    assert r"$\pm$: half-width of the 95\,\% interval" in latex
    assert "pm" not in to_latex(table, "Demo", Selection(columns=("fd",), intervals=False))


def test_the_same_records_in_any_order_give_the_same_bytes(record):
    records = [record(m, "W4A4", fd) for m, fd in (("a", 3.0), ("b", 2.0), ("c", 2.5))]
    records.append(record("full-precision", "FP", 1.0))
    texts = set()
    for seed in range(4):
        random.Random(seed).shuffle(records)
        texts.add(to_latex(leaderboard(records), "t"))
    assert len(texts) == 1


def test_means_over_seeds_say_so(record):
    records = [record("full-precision", "FP", 5.0, seed=s) for s in (0, 1)]
    records += [record("rtn", "W4A4", 8.0 + s, seed=s) for s in (0, 1)]
    latex = to_latex(summary(records), "Demo")
    assert "images per seed" in latex
    assert r"$\pm$: standard deviation over seeds" in latex
    assert r"8.50{\scriptsize\,$\pm$\,0.71}" in latex


def test_labels_are_text_and_the_highlighted_name_is_bold(table):
    chosen = Selection(columns=("fd",), labels={"gptq": "TreeQ_[1] (ours)"}, highlight="gptq")
    names = [row[0] for row in rows_of(to_latex(table, "t", chosen))]
    assert names.count(r"\textbf{TreeQ\_{[}1{]} (ours)}") == 2
    assert "gptq" not in names


def test_a_pivot_has_a_group_of_columns_for_each_budget(table):
    chosen = Selection(columns=("fd", "bitops"), pivot="budget", intervals=False)
    latex = to_latex(table, "t", chosen)
    groups, head, *rows = rows_of(latex)
    assert groups == ["", r"\multicolumn{2}{c}{W4A4}", r"\multicolumn{2}{c}{W3A3}"]
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in latex
    assert head == ["method", r"FD $\downarrow$", "GBitOPs", r"FD $\downarrow$", "GBitOPs"]
    assert rows == [
        ["full-precision", "5.00", "25.600", "5.00", "25.600"],
        ["gptq", r"\textbf{6.50}", "1.600", "9.50", "0.900"],
        ["rtn", r"\underline{8.00}", "1.600", r"\emph{diverged}", "--"],
        ["greedy", r"2.00\dag{}", "1.600", "--", "--"],
    ]


@pytest.mark.parametrize(
    ("columns", "asked", "floats"),
    [
        (("fd", "bitops"), "column", "table"),
        (("fd", "bitops"), "text", "table*"),
        (("fd", "fd_delta", "kid", "psnr", "bitops"), "column", "table*"),
    ],
)
def test_a_table_is_as_wide_as_a_column_where_it_fits(table, columns, asked, floats):
    chosen = Selection(columns=columns, width=asked)
    latex = to_latex(table, "t", chosen)
    assert re.findall(r"\\(?:begin|end)\{(table\*?)\}", latex) == [floats, floats]
    size = width(grids(table, chosen, "brief")[0])
    assert (size <= COLUMN) == (floats == "table" or asked == "text")
    assert size <= TEXT
    assert "resizebox" not in latex


def test_only_more_than_eight_columns_are_scaled(table):
    long = Selection(columns=("fd", "fd_delta", "bytes"), labels={"gptq": "a long name " * 30})
    latex = to_latex(table, "t", long)
    assert "resizebox" not in latex
    assert re.search(r"begin\{tabular\}\{@\{\}p\{\d+pt\}l", latex)
    many = Selection(columns=(
        "fd", "fd_delta", "is", "kid", "precision", "psnr", "bitops", "bitops_linear", "bytes",
        "effective_bits", "seconds", "search_evals", "baseline_delta", "environment",
    ))  # fmt: skip
    latex = to_latex(table, "t", many)
    assert r"\resizebox{\textwidth}{!}{%" in latex
    assert "booktabs,graphicx" in latex


@pytest.mark.parametrize("name", NASTY)
def test_names_become_text_without_special_characters(name):
    for text in (escape(name), breakable(name)):
        bare = re.sub(r"\\[a-z]+\d*(\{(0|34|0pt)?\})?|\\[{}$&#%_]|\$\\[A-Za-z]+\$", "", text)
        bare = re.sub(r"\{[][*]?\}", "", bare)
        assert not re.search(r"[\\{}$&#%_~^<>|\[\]*`\"]", bare), text
        assert "--" not in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_an_article_of_two_columns_has_no_overfull_box(record, tmp_path):
    records = [record("full-precision", "FP", 5.0), record("x", status="failed", reason="$")]
    names = {f"m{at}": name for at, name in enumerate(NASTY)}
    records += [record(name, b, 8.0, job=f"{b}{name}") for b in ("W4A4", "W3A3") for name in names]
    table = leaderboard(records)
    given = [
        {}, {"columns": ("fd",)}, {"columns": ("fd", "delta"), "pivot": "budget"},
        {"columns": ("fd", "kid", "environment"), "width": "text"},
        {"columns": ("fd", "environment", "notes", "job", "status", "commit")},
    ]  # fmt: skip
    parts, boxes = [], []
    for at, keys in enumerate(given):
        chosen = Selection.model_validate({"labels": names, "highlight": "m1", **keys})
        latex = to_latex(table, "a_b%{}", chosen, f"t{at}")
        (tmp_path / f"t{at}.tex").write_text(latex, encoding="utf-8")
        parts.append(rf"\input{{t{at}}}")
        small = r"\scriptsize" + "\n" in latex
        (tabular,) = re.findall(r"\\begin\{tabular\}.*\\end\{tabular\}", latex, re.DOTALL)
        size = r"\scriptsize" if small else r"\footnotesize"
        boxes.append(
            rf"\setbox0\hbox{{{size}\setlength{{\tabcolsep}}{{3pt}}{tabular}}}"
            rf"\typeout{{WIDTH \the\wd0}}"
        )
        sizes = width(grids(table, chosen, "brief")[0], 7.6 if small else 8.0)
        boxes[-1] += rf"\typeout{{ESTIMATE {sizes:.2f}}}" if keys and "p{" not in latex else ""
    main = "\n".join([
        r"\documentclass[10pt,twocolumn]{article}", r"\usepackage{booktabs,amssymb,graphicx}",
        r"\usepackage[textwidth=6.95in,columnsep=0.29in]{geometry}", r"\begin{document}",
        *parts, r"\clearpage", *boxes, r"x\end{document}",
    ])  # fmt: skip
    (tmp_path / "main.tex").write_text(main, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    log = (tmp_path / "main.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log
    found = re.findall(r"WIDTH ([\d.]+)pt\s+ESTIMATE ([\d.]+)", log)
    assert len(found) >= 3
    for real, estimate in found:
        assert float(real) <= float(estimate) <= 1.2 * float(real)


def test_wider_letters_are_wider():
    assert text_width("il", 8.0) < text_width("ab", 8.0) < text_width("MW", 8.0)
    assert text_width("ab", 8.0) < text_width("ab", 8.0, bold=True)
