"""Order, pairs, ranks and ties of the leaderboard; mean and spread over seeds."""

import random

import numpy as np
import pytest

from mpqbench.core.errors import BenchError
from mpqbench.records.columns import Column, frechet_names
from mpqbench.records.statistics import combined_half_width, paired_replicates
from mpqbench.report.table import leaderboard, summary


def test_paired_difference_is_the_jackknife_of_the_differences():
    rng = np.random.default_rng(0)
    common = rng.normal(size=20)
    a, b = 7 + common + 0.1 * rng.normal(size=20), 5 + common
    half = combined_half_width(paired_replicates(a, b), ())
    d = a - b
    expected = 1.96 * np.sqrt(19 / 20 * np.sum((d - d.mean()) ** 2))
    assert half == pytest.approx(expected, rel=1e-12)
    unpaired = 1.96 * np.sqrt(19 * (a.var() + b.var()))
    assert half < unpaired / 5  # what pairing is for


def test_delta_pairs_same_model_seed_and_metric_fingerprint(record):
    table = leaderboard(
        [
            record("full-precision", "FP", 5.0, seed=0),
            record("full-precision", "FP", 6.0, seed=1),
            record("full-precision", "FP", 1.0, seed=0, metric="m2"),
            record("full-precision", "FP", 2.0, seed=0, model="other"),
            record("rtn", "W4A4", 9.0, seed=0),
            record("rtn", "W4A4", 9.0, seed=1),
            record("rtn", "W4A4", 9.0, seed=2),
        ]
    )
    deltas = {row["seed"]: row["fd_delta"] for row in table.rows if row["method"] == "rtn"}
    assert deltas == {0: 4.0, 1: 3.0, 2: None}
    assert all(row["fd_delta"] is None for row in table.rows if row["budget"] == "FP")


def test_order_is_full_precision_then_budgets_then_what_is_not_done(record):
    records = [
        record("full-precision", "FP", 5.0),
        record("rtn", "W8A8", 6.0),
        record("rtn", "W4A8", 8.0),
        record("gptq", "W4A4", 15.0),
        record("rtn", "W4A4", 20.0),
        record("awq", "W4A8", status="skipped", reason="needs a GPU"),
        record("rtn", "W2A2", status="failed", reason="out of memory", metric=None),
    ]
    expected = [own.job for own in records]
    for seed in range(3):
        random.Random(seed).shuffle(records)
        table = leaderboard(records)
        assert [row["job"] for row in table.rows] == expected
    assert len(table.blocks) == 1
    assert table.rows[-1]["reason"] == "out of memory"


def test_ranks_stay_inside_a_metric_fingerprint_a_model_a_budget_and_a_seed(record):
    table = leaderboard(
        [
            record("rtn", "W4A4", 20.0),
            record("gptq", "W4A4", 15.0),
            record("cheat", "W4A4", 1.0, metric="m2"),
            record("other", "W4A4", 2.0, model="other-dit"),
            record("lucky", "W4A4", 3.0, seed=1),
            record("easy", "W8A8", 4.0),
            record("greedy", "W4A4", 5.0, satisfied=False),
            record("full-precision", "FP", 1.5),
            record("full-precision", "FP", 1.5, metric="m2"),
            record("full-precision", "FP", 1.5, model="other-dit"),
            record("full-precision", "FP", 1.5, seed=1),
        ]
    )
    ranks = {row["method"]: row["rank"] for row in table.rows}
    assert ranks == {
        "full-precision": None, "easy": 1, "gptq": 1, "rtn": 2, "greedy": None, "lucky": 1,
        "cheat": 1, "other": 1,
    }  # fmt: skip
    assert [(b.model, b.metric_fingerprint) for b in table.blocks] == [
        ("fashion-dit", "m1"), ("fashion-dit", "m2"), ("other-dit", "m1"),
    ]  # fmt: skip


def test_ties_are_marked_only_where_the_paired_interval_contains_zero(record):
    noise = (1.0, -2.0, 1.0)
    table = leaderboard(
        [
            record("full-precision", "FP", 5.0, wobble=noise),
            record("parallel", "W8A8", 5.1, wobble=noise),  # differs by exactly 0.1 in each group
            record("noisy", "W8A8", 5.2, wobble=(-1.0, 2.0, -1.0)),
        ]
    )
    assert {row["method"]: row["ties"] for row in table.rows} == {
        "full-precision": "",
        "parallel": "",
        "noisy": "≈FP ≈best",
    }


def test_jobs_that_never_got_a_metric_fingerprint_keep_a_block_of_their_own(record):
    records = [
        record("rtn", "W4A4", 2.0, metric="m1"),
        record("rtn", "W4A4", 2.0, metric="m2"),
        record("rtn", "W2A2", status="failed", reason="no disk", metric=None),
    ]
    blocks = leaderboard(records).blocks
    assert [block.metric_fingerprint for block in blocks] == ["", "m1", "m2"]
    assert blocks[0].rows[0]["reason"] == "no disk"


def test_contradictions_are_refused(record):
    with pytest.raises(BenchError, match="two records of job"):
        leaderboard([record("rtn", "W4A4", 2.0), record("rtn", "W4A4", 3.0)])
    two = [
        record("a", "W4A4", 2.0, extractor="fashion"),
        record("b", "W4A4", 2.0, extractor="clip"),
    ]
    with pytest.raises(BenchError, match="clip, fashion"):
        leaderboard(two)


@pytest.mark.parametrize(
    ("extractor", "names"),
    [
        ("inception-adm", ("FID", "sFID")),
        ("clean-fid", ("FID-clean", "sFID-clean")),
        ("fashion", ("FD", "sFD")),
        ("inception", ("FD", "sFD")),
        (None, ("FD", "sFD")),
    ],
)
def test_the_name_fid_belongs_to_its_network(record, extractor, names):
    assert frechet_names(extractor) == names
    if extractor:
        block = leaderboard([record("rtn", "W4A4", 2.0, extractor=extractor)]).blocks[0]
        assert (block.column("fd").header, block.column("sfd").header) == names
        assert block.column("fd_delta").header == f"Δ{names[0]}"


def test_summary_is_mean_and_sample_spread_over_seeds(record):
    values = [10.0, 11.0, 15.0]
    records = [record("rtn", "W4A4", v, seed=s) for s, v in enumerate(values)]
    records += [record("full-precision", "FP", 5.0 + s, seed=s) for s in range(3)]
    records += [record("gptq", "W4A4", 9.0, seed=0)]
    records += [record("gptq", "W4A4", seed=1, status="diverged", reason="NaN at step 3")]
    rows = {row["method"]: row for row in summary(records).rows}
    rtn = rows["rtn"]
    assert rtn["fd"] == pytest.approx(np.mean(values))
    assert rtn["fd_std"] == pytest.approx(np.std(values, ddof=1))
    deltas = np.array(values) - [5.0, 6.0, 7.0]
    assert rtn["fd_delta"] == pytest.approx(deltas.mean())
    assert rtn["fd_delta_std"] == pytest.approx(deltas.std(ddof=1))
    assert (rtn["seeds"], rtn["seeds_done"], rtn["rank"], rtn["status"]) == (3, 3, 1, "done")
    gptq = rows["gptq"]
    assert (gptq["seeds"], gptq["seeds_done"], gptq["rank"]) == (2, 1, None)
    assert (gptq["fd"], gptq["fd_std"]) == (9.0, None)
    assert (gptq["status"], gptq["reason"]) == ("diverged", "seed 1: NaN at step 3")


def test_a_mean_needs_the_score_of_every_seed_and_one_metric_fingerprint(record):
    rows = summary([record("rtn", "W4A4", 1.0), record("rtn", "W4A4", None, seed=1)]).rows
    assert [(row["fd"], row["fd_std"], row["seeds_done"]) for row in rows] == [(None, None, 2)]
    records = [record("rtn", "W4A4", 1.0, metric="m1"), record("rtn", "W4A4", 3.0, metric="m2")]
    assert [row["fd"] for row in summary(records).rows] == [1.0, 3.0]


@pytest.mark.parametrize(
    ("form", "value", "half", "shown"),
    [
        (".2f", 0.383, 0.0719, "0.38 ±0.07"),
        (".3g", 0.00338, 6.36e-05, "0.00338 ±0.00006"),
        (".3g", 0.00251, 4.6e-06, "0.00251 ±0.000005"),
        (".3g", 12.345, 0.5, "12.3 ±0.5"),
        (".3g", 1.2e-7, 3e-8, "1.2e-07 ±3e-08"),
        (".3g", 0.5, 0.0, "0.5 ±0"),
    ],
)
def test_a_half_width_has_the_places_of_its_value(form, value, half, shown):
    column = Column("error", "error", "score", form=form, interval="error_ci")
    assert column.text({"error": value, "error_ci": half}) == shown
