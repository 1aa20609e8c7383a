"""What tests of reports share."""

import pytest
from records_of import record_of

from mpqbench.records.store import RecordStore


@pytest.fixture
def record():
    """Maker of synthetic records."""
    return record_of


@pytest.fixture
def store(tmp_path):
    """An empty folder of a run."""
    return RecordStore(tmp_path / "run")


@pytest.fixture(autouse=True)
def few_dots(monkeypatch):
    """Pictures of few dots, which are quicker to draw."""
    monkeypatch.setattr("mpqbench.report.drawing.DPI", 60)
