"""The study of realizations: both standard deviations, half-widths and coverage."""

import math

import numpy as np
import pytest
from records_of import record_of
from scipy.stats import t as student

from mpqbench.core.errors import BenchError
from mpqbench.records.variance import coverage, realization_table

WOBBLE = (0.3, -0.1, -0.2, 0.1, -0.2, 0.1)


def realizations(method, values, budget="W3A3"):
    """Records of one method, a realization for each FD of ``values``."""
    return [
        record_of(method, budget, fd, wobble=WOBBLE).model_copy(
            update={"realization": number, "job": f"{method}-{budget}-{number}"}
        )
        for number, fd in enumerate(values)
    ]


def test_deviations_are_those_of_the_formulas():
    table = realization_table(realizations("gptq", (1.0, 1.2, 0.9, 1.1, 1.3)))
    (row,) = table.to_dict("records")
    assert row["realizations"] == 5
    assert row["fd"] == pytest.approx(1.1)
    assert row["sd_between"] == pytest.approx(math.sqrt(0.1 / 4))
    spread = sum((w - sum(WOBBLE) / 6) ** 2 for w in WOBBLE)
    images = math.sqrt(5 / 6 * spread)
    assert row["sd_images"] == pytest.approx(images)
    assert row["half_1"] == pytest.approx(1.96 * images)
    # Welch and Satterthwaite's degrees of freedom, for the mean of three realizations.
    parts = (images**2, 5), (0.025 / 3, 2)
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / df for variance, df in parts)
    assert row["half_3"] == pytest.approx(student.ppf(0.975, freedom) * math.sqrt(total))


def test_one_realization_has_no_row_and_none_at_all_is_an_error():
    every = [*realizations("gptq", (1.0, 1.2)), *realizations("rtn", (2.0,))]
    assert list(realization_table(every)["method"]) == ["gptq"]
    assert np.isnan(realization_table(every)["half_3"].astype(float)).all()
    with pytest.raises(BenchError, match="--realizations 2"):
        realization_table(realizations("rtn", (2.0,)))


def test_an_interval_of_one_realization_covers_too_little_and_the_combined_one_enough():
    alone = coverage(between=0.031, images=0.02, realizations=1)
    # One value of both errors in an interval of one: P(|Z| < 1.96 images / sqrt(both squares)).
    wanted = math.erf(1.96 * 0.02 / math.hypot(0.031, 0.02) / math.sqrt(2))
    assert alone == pytest.approx(wanted, abs=0.03)
    for count in (3, 5):
        assert 0.93 < coverage(0.031, 0.02, count) < 0.975
    assert 0.93 < coverage(0.0, 0.02, 3) < 0.965
