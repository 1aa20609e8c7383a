"""What tests of ablations share."""

import pytest


@pytest.fixture(autouse=True)
def few_dots(monkeypatch):
    """Pictures of few dots: these tests are not about them."""
    monkeypatch.setattr("mpqbench.report.drawing.DPI", 60)


@pytest.fixture
def no_pictures(monkeypatch):
    """Empty files in place of pictures: drawing takes most of the time of a report."""

    def touch(figure, stem):
        paths = [stem.parent / f"{stem.name}.{kind}" for kind in ("png", "pdf")]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return paths

    monkeypatch.setattr("mpqbench.report.drawing.save", touch)
