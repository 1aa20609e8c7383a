"""Rows of another environment, model, recipe or number of images are not compared in silence."""

import io

import pytest
from records_of import PROVENANCE, record_of
from rich.console import Console

from mpqbench.report.render import print_table, to_csv, to_markdown
from mpqbench.report.table import leaderboard, summary

HERE = {"cpu": "AMD EPYC", "torch": "2.15.0", "device": "cpu", "harness": "h1", "threads": 1}


def measured(*arguments, model_digest="d1", recipe_digest=None, fields=None, **where):
    """A record that was measured in the environment ``where``."""
    own = {"provenance": PROVENANCE | HERE | where, "model_digest": model_digest, **(fields or {})}
    return record_of(*arguments, recipe_digest=recipe_digest or f"r-{arguments[0]}", **own)


def terminal(table):
    console = Console(file=io.StringIO(), width=120, color_system=None)
    print_table(table, console)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"cpu": "Intel(R) Xeon(R) Processor"}, "another environment (processor)"),
        ({"torch": "2.14.1"}, "another environment (torch)"),
        ({"device": "NVIDIA H200"}, "another environment (device)"),
        ({"harness": "h2"}, "another environment (sources)"),
        ({"harness": None, "git": "abc-dirty"}, "another environment (sources)"),
        ({"model_digest": "d2"}, "another model"),
        ({"fields": {"n_images": 64}}, "another number of images"),
    ],
)
def test_a_row_that_differs_has_no_difference_no_rank_and_a_reason(changed, reason):
    full, best = measured("full-precision", "FP", 5.0), measured("rtn", "W4A4", 9.0)
    table = leaderboard([full, best, measured("gptq", "W4A4", 6.0, **changed)])
    rows = {row["method"]: row for row in table.rows}
    assert (rows["rtn"]["fd_delta"], rows["rtn"]["rank"], rows["rtn"]["remark"]) == (4.0, 1, "")
    other = rows["gptq"]
    assert (other["fd_delta"], other["fd_delta_ci"], other["rank"], other["ties"]) == (
        None, None, None, "",
    )  # fmt: skip
    assert reason in other["remark"]
    for text in (to_csv(table), to_markdown(table, "t"), " ".join(terminal(table).split())):
        assert reason in text


def test_rows_of_one_environment_are_told_apart_by_nothing():
    table = leaderboard([measured("full-precision", "FP", 5.0), measured("rtn", "W4A4", 9.0)])
    assert {(row["mark"], row["remark"]) for row in table.rows} == {("", "")}
    assert "env" not in terminal(table)


def test_every_row_of_a_mixed_table_has_the_mark_of_its_environment():
    records = [measured("full-precision", "FP", 5.0), measured("rtn", "W4A4", 9.0)]
    table = leaderboard([*records, measured("gptq", "W4A4", 6.0, torch="2.14.1")])
    assert {row["method"]: row["mark"] for row in table.rows} == {
        "full-precision": "A", "rtn": "A", "gptq": "B",
    }  # fmt: skip
    for text in (to_markdown(table, "t"), " ".join(terminal(table).split())):
        assert "B is AMD EPYC, PyTorch 2.14.1, cpu, sources h1" in text


def test_threads_count_for_trained_rows_and_for_records_without_a_digest_of_the_harness():
    trained = {"fields": {"recipe": {"name": "x", "tuner": {"name": "lsq", "params": {}}}}}
    full, first = measured("full-precision", "FP", 5.0), measured("a", "W4A4", 6.0, **trained)
    other = measured("b", "W4A4", 6.05, threads=2, **trained)
    rows = {row["method"]: row for row in leaderboard([full, first, other]).rows}
    assert [rows[name]["rank"] for name in "ab"] == [1, 2]  # both are paired with full precision
    assert "≈best" not in rows["b"]["ties"]  # but not with each other
    plain = [measured(n, "W4A4", fd, threads=t) for n, fd, t in (("a", 6.0, 1), ("b", 6.0, 2))]
    assert {row["mark"] for row in leaderboard([full, *plain]).rows} == {""}
    old = {"harness": None, "git": "abc"}
    records = [measured(n, b, 6.0, threads=t, **old) for n, b, t in (
        ("full-precision", "FP", 2), ("a", "W4A4", 1), ("b", "W4A4", 2))]  # fmt: skip
    assert len({row["mark"] for row in leaderboard(records).rows}) > 1


def test_seeds_of_two_recipes_of_one_name_have_no_common_mean():
    records = [measured("rtn", "W4A4", 9.0, recipe_digest="old")]
    records += [record.model_copy(update={"seed": 1, "job": "b", "recipe_digest": "new"})
                for record in [measured("rtn", "W4A4", 3.0)]]  # fmt: skip
    assert sorted(row["fd"] for row in summary(records).rows) == [3.0, 9.0]
    assert all("one of 2 recipes of this name" in row["remark"] for row in summary(records).rows)


def test_notes_of_a_record_are_in_every_form_of_a_table():
    note = "the search fell back to uniform W3A3"
    records = [measured("full-precision", "FP", 5.0)]
    records += [measured("ilp", "W4A4", 9.0, fields={"notes": (note,)})]
    for table in (leaderboard(records), summary(records)):
        for text in (to_csv(table), to_markdown(table, "t"), " ".join(terminal(table).split())):
            assert note in text
