"""Cells as a person reads them."""

from __future__ import annotations

import pytest

from mpqbench.report.columns import Column


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
