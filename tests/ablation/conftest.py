"""What tests of ablations share."""

import pytest


@pytest.fixture(autouse=True)
def few_dots(monkeypatch):
    """Pictures of few dots: these tests are not about them."""
    monkeypatch.setattr("mpqbench.report.drawing.DPI", 60)
