"""What a record accepts, and what it refuses."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from mpqbench.records.schema import JobRecord, Score

PROVENANCE = {
    "mpqbench": "0.1.0",
    "python": "3.11.0",
    "platform": "test",
    "started": "2026-01-01T00:00:00+00:00",
    "finished": "2026-01-01T00:01:00+00:00",
}
COSTS = {
    "macs": 100,
    "parameters": 10,
    "bitops": 1600,
    "bitops_linear": 1600,
    "bitops_per_image": 64000,
    "bytes": 10,
    "effective_bits": 8.0,
    "satisfied": True,
}


def content(**changes):
    """A valid ``done`` record as plain data."""
    base = {
        "job": "fashion-dit__rtn__W4A4__s0",
        "fingerprint": "abc",
        "metric_fingerprint": "m1",
        "status": "done",
        "model": "fashion-dit",
        "method": "rtn",
        "budget": "W4A4",
        "seed": 0,
        "recipe": {"name": "rtn"},
        "protocol": {"name": "quick"},
        "allocation": {
            "mean_weight_bits": 4,
            "mean_activation_bits": 4.5,
            "counts": {"W4A4": 48},
        },
        "extractor": "fashion",
        "n_images": 1000,
        "scores": {"fd": {"value": 5.25, "ci": 0.5, "replicates": [5.0, 5.5]}},
        "costs": COSTS,
        "seconds": {"sample": 1.5},
        "provenance": PROVENANCE,
    }
    return base | changes


def test_round_trip_through_json_keeps_every_field():
    record = JobRecord.model_validate(content())
    again = JobRecord.model_validate(json.loads(record.to_json()))
    assert again == record
    assert again.scores["fd"].replicates == (5.0, 5.5)
    assert again.allocation.counts == {"W4A4": 48}
    assert again.to_json() == record.to_json()


def test_record_is_immutable():
    record = JobRecord.model_validate(content())
    with pytest.raises(ValidationError):
        record.status = "failed"


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"scores": {"lpips": {"value": 1.0}}},
        {"scores": {"fd": {"value": 1.0, "sd": 2.0}}},
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


def test_half_width_cannot_be_negative():
    with pytest.raises(ValidationError):
        Score(value=1.0, ci=-0.1)
