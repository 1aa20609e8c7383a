"""What a record accepts, and what it refuses."""

import math

import pytest
from pydantic import ValidationError
from records_of import record_of

from mpqbench.records.schema import JobRecord
from mpqbench.records.store import file_text

BASE = record_of(fd=5.25).model_dump(mode="json")
COSTS, PROVENANCE = BASE["costs"], BASE["provenance"]


def content(**changes):
    """A valid ``done`` record as plain data."""
    return BASE | changes


def test_round_trip_through_json_keeps_every_field():
    counts = {"mean_weight_bits": 4, "mean_activation_bits": 4.5, "counts": {"W4A4": 48}}
    record = JobRecord.model_validate(content(allocation=counts))
    again = JobRecord.model_validate_json(record.model_dump_json())
    assert again == record
    assert again.allocation.counts == {"W4A4": 48}
    assert file_text(again) == file_text(record)
    with pytest.raises(ValidationError):
        record.status = "failed"


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"scores": {"fidelity": {"value": 1.0}}},
        {"scores": {"fd": {"value": 1.0, "sd": 2.0}}},
        {"scores": {"fd": {"value": 1.0, "ci": -0.1}}},
        {"costs": COSTS | {"flops": 1}},
        {"provenance": PROVENANCE | {"host": "x"}},
        {"status": "crashed", "reason": "x"},
        {"job": "../escape"},
        {"job": "a/b"},
        {"budget": "W9A9"},
        {"n_images": -1},
        {"schema_version": 2},
        {"provenance": PROVENANCE | {"started": "2026-01-01T00:00:00"}},
    ],
)
def test_refuses_unknown_keys_words_and_unsafe_names(changes):
    with pytest.raises(ValidationError):
        JobRecord.model_validate(content(**changes))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_numbers_that_are_not_finite(bad):
    for changes in (
        {"scores": {"fd": {"value": bad}}},
        {"scores": {"fd": {"value": 1.0, "ci": bad}}},
        {"scores": {"fd": {"value": 1.0, "replicates": [1.0, bad]}}},
        {"seconds": {"sample": bad}},
        {"search_evals": bad},
        {"recipe": {"rounding": {"damp": bad}}},
        {"protocol": {"guidance": [bad]}},
    ):
        with pytest.raises(ValidationError):
            JobRecord.model_validate(content(**changes))


@pytest.mark.parametrize("status", ["diverged", "infeasible", "failed", "skipped", "not-run"])
def test_anything_but_done_needs_a_reason(status):
    bare = {"scores": {}, "costs": None, "metric_fingerprint": None, "n_images": 0}
    for reason in ("", "  "):
        with pytest.raises(ValidationError, match="needs a reason"):
            JobRecord.model_validate(content(status=status, reason=reason, **bare))
    record = JobRecord.model_validate(content(status=status, reason="out of memory", **bare))
    assert record.reason == "out of memory"


@pytest.mark.parametrize(
    "missing", [{"costs": None}, {"metric_fingerprint": None}, {"n_images": 0}]
)
def test_done_without_its_numbers_is_refused(missing):
    with pytest.raises(ValidationError, match=next(iter(missing))):
        JobRecord.model_validate(content(**missing))


def test_budget_is_kept_in_one_spelling():
    assert JobRecord.model_validate(content(budget="w4a4")).budget == "W4A4"
    assert JobRecord.model_validate(content(budget="W16A16")).budget == "FP"
