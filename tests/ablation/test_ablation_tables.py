"""Tables, LaTeX and figures of an ablation, from records with known effects."""

import re

import numpy as np
import pandas as pd
import pytest
from ablation_records import RATIOS, record, records_of, small_plan

from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import Recipe
from mpqbench.lab.ablation.design import Design
from mpqbench.lab.ablation.effects import cell_means, effects_table
from mpqbench.lab.ablation.run import PlannedAblation
from mpqbench.records.selection import Selection
from mpqbench.report.ablation import ablation_latex, cell_table, effect_sections
from mpqbench.report.grid import ranked
from mpqbench.report.latex_text import escape
from mpqbench.report.render import to_markdown

WIDE = Selection(width="text")


def result_of(plan, records):
    design = Design(method=plan.method, factors=plan.factors)
    return PlannedAblation(design, plan, []).conclude([records])


def table_of(plan, records):
    return cell_table(result_of(plan, records).cells, [records])


def effect_of(effects, kind, *levels, response="fd"):
    levels = (*levels, "")[:2]
    (row,) = effects[
        (effects.response == response)
        & (effects.kind == kind)
        & (effects.level == levels[0])
        & (effects.level_2 == levels[1])
    ].to_dict("records")
    return row


def test_ratios_come_back_from_records():
    plan = small_plan()
    effects = effects_table(plan, records_of(plan), "log")
    for level in ("ilp", "greedy", "clean"):
        for kind in ("contrast", "alone"):
            row = effect_of(effects, kind, level)
            assert row["effect"] == pytest.approx(RATIOS[level])
            assert row["low"] < row["effect"] < row["high"]
            assert row["interval"] == "images"
            assert effect_of(effects, kind, level, response="output_mse")["interval"] == ""
    joint = effect_of(effects, "joint", "greedy", "clean")
    assert joint["effect"] == pytest.approx(1)
    assert (joint["versus"], joint["versus_2"]) == ("tss", "eng")
    main = effect_of(effects, "main", "clean")
    assert main["effect"] == pytest.approx(np.sqrt(2))


def test_realizations_of_a_cell_count_once_and_one_that_is_not_done_takes_its_seed():
    plan = small_plan()
    first = records_of(plan, seeds=(0,))
    second = [
        one.model_copy(update={"realization": 1, "job": f"{one.job}__r1"})
        for one in first if not one.is_full_precision
    ]  # fmt: skip
    alone = effects_table(plan, first, "log").set_index(["budget", "response", "kind", "level"])
    both = effects_table(plan, [*second, *first], "log")
    assert list(both["effect"]) == pytest.approx(alone["effect"].tolist(), nan_ok=True)
    assert set(both["seeds"]) == set(alone["seeds"])
    lost = second[0].model_copy(update={"status": "diverged", "reason": "NaN"})
    table = effects_table(plan, [*first, lost, *second[1:]], "log")
    assert table["reason"].str.contains("diverged").any()


def test_a_diverged_cell_is_named_and_never_filled_in():
    plan = small_plan()
    effects = effects_table(plan, records_of(plan, failing=["mine.ilp.clean"]), "log")
    lost = effect_of(effects, "main", "tss")
    assert np.isnan(lost["effect"])
    assert lost["reason"] == "no seed has all its cells: missing mine.ilp.clean (diverged)"
    assert effect_of(effects, "contrast", "greedy")["effect"] == pytest.approx(3)
    assert effect_of(effects, "alone", "ilp")["effect"] == pytest.approx(1.5)
    means = cell_means(plan, records_of(plan, failing=["mine.ilp.clean"]), "log")["W3A3", "fd"]
    assert np.isnan(means[1, 1])
    assert means[2, 1] == pytest.approx(6 * np.sqrt(2))
    text = effect_sections(effects, "fashion")
    assert "| searcher: tss → ilp |  |  | 0 | no seed has all its cells" in text


def test_an_incomplete_seed_is_told():
    plan = small_plan()
    records = [r for r in records_of(plan) if r.job != "m__mine.ilp.clean__W3A3__s1"]
    row = effect_of(effects_table(plan, records, "log"), "main", "tss")
    assert (row["seeds"], row["reason"]) == (1, "without seed 1: incomplete")


def test_cells_over_the_budget_are_told_where_they_count():
    plan = small_plan()
    records = records_of(plan, dear=["mine.ilp.clean"])
    effects = effects_table(plan, records, "log")
    assert effect_of(effects, "contrast", "clean")["reason"] == "over budget: mine.ilp.clean"
    assert effect_of(effects, "contrast", "greedy")["reason"] == ""
    assert "| images | 2 | over budget: mine.ilp.clean |" in effect_sections(effects, "fashion")
    latex = ablation_latex(table_of(plan, records), "Ablation of mine", {"environment": "eng"})
    marked = [row[1:4] for row in rows_of(latex) if r"\dag" in " ".join(row)]
    assert marked == [["ilp", "", r"4.50\dag{}"]]
    assert r"\dag{}: over budget." in latex
    assert r"\dag" not in ablation_latex(table_of(plan, records_of(plan)), "Ablation of mine", {})


def test_the_logarithm_needs_positive_values():
    plan = small_plan()
    records = records_of(plan)
    records[2] = record(records[2].method, plan.method, fd=(-0.1, [0.1] * 20))
    with pytest.raises(BenchError, match="use --scale linear"):
        effects_table(plan, records, "log")
    assert len(effects_table(plan, records, "linear"))


def test_markdown_says_where_intervals_come_from():
    plan = small_plan()
    records = records_of(plan)
    text = effect_sections(effects_table(plan, records, "log"), "fashion")
    assert re.search(r"\| environment: eng → clean \| x2 \[1\.9.*\] \| images \| 2 \|", text)
    assert "searcher: tss → greedy and environment: eng → clean" in text
    without = records_of(plan, (0, 1, 2), with_fd=False)
    assert "delete-group" not in effect_sections(effects_table(plan, without, "log"), "none")
    cells = to_markdown(table_of(plan, records), "Ablation")
    assert "| W3A3 | tss | eng | 2 | **1.50 ±0.07** |" in cells


def rows_of(latex):
    body = latex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    lines = [line for line in body.strip().split("\n") if line != r"\midrule"]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split(" & ")] for line in lines]


def test_latex_has_ticks_the_best_in_bold_and_the_second_underlined():
    plan = small_plan()
    table = table_of(plan, records_of(plan, failing=["mine.greedy.clean"]))
    latex = ablation_latex(table, "Ablation of mine", {"environment": "eng"}, WIDE)
    head, *rows = rows_of(latex)
    align = re.search(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", latex)[1]
    assert align == "llcrrrrrr"
    assert {len(row) for row in [head, *rows]} == {len(align)}
    assert head[:3] == ["budget", "searcher", "eng"]
    assert head[3:] == [
        r"FD $\downarrow$", r"output MSE $\downarrow$", "GBitOPs", r"IS $\uparrow$",
        r"sFD $\downarrow$", "MB",
    ]  # fmt: skip
    assert "Ticks: environment eng." in latex
    assert rows[0][:3] == ["FP", "--", ""]
    assert rows[1][:4] == ["W3A3", "tss", r"\checkmark", r"\textbf{1.50}"]
    assert rows[3][:4] == ["W3A3", "ilp", r"\checkmark", r"\underline{2.25}"]
    assert rows[1][6] == r"\textbf{8.85}"  # IS, where higher is better
    assert rows[-1][1:5] == ["greedy", "", r"\emph{diverged}", "--"]
    assert latex.count(r"\textbf") == latex.count(r"\underline") == 4
    assert "Best in bold, second underlined." in latex


def test_text_is_escaped():
    assert escape("a_b & 50% #1 {x} ~^\\") == (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert escape("MSE (10⁻³) ±1") == r"MSE (10\raisebox{0.6ex}{\scriptsize $-3$}) $\pm$1"
    assert escape("10⁻³").isascii()


def test_nothing_done_is_said():
    plan = small_plan()
    names = {cell.recipe.name for cell in plan.cells}
    records = records_of(plan, failing=names)
    effects = effects_table(plan, records, "log")
    assert effects.empty
    assert "nothing to compare" in effect_sections(effects, None)
    latex = ablation_latex(table_of(plan, [r for r in records if r.budget != "FP"]), "x", {})
    assert {len(row) for row in rows_of(latex)} == {4}
    assert latex.count(r"\emph{diverged}") == 6


def test_cells_of_another_protocol_are_another_block():
    recipe = Recipe(name="mine")
    batches = [
        [record(f"mine.steps-{n}", recipe, mse=0.1 * n, fd=(n, [n] * 20), steps=n)]
        for n in (10, 20)
    ]
    cells = [{"setting": "protocol.steps", "value": str(n), "method": f"mine.steps-{n}"}
             for n in (10, 20)]  # fmt: skip
    table = cell_table(pd.DataFrame(cells), batches)
    assert len(table.blocks) == 2
    assert all(not ranked(block) for block in table.blocks)
    assert [row["value"] for row in table.rows] == ["10", "20"]
    assert r"\textbf" not in ablation_latex(table, "x", {})
    assert "bold" not in ablation_latex(table, "x", {})
