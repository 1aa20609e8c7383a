"""Fixtures of the tests of tuning."""

import pytest

from mpqbench.conformance.tuner import lively_transformer, rows
from mpqbench.tuning.checkpoint import Checkpoint
from mpqbench.tuning.student import DistillationData


@pytest.fixture(scope="session")
def teacher():
    """Full precision."""
    return lively_transformer()


@pytest.fixture(scope="session")
def recorded_rows(teacher):
    """128 inputs to train on and 64 held out."""
    return rows(teacher, 128, 1), rows(teacher, 64, 2)


@pytest.fixture
def data(recorded_rows):
    """DistillationData without a checkpoint."""
    return DistillationData(*recorded_rows, seed=0, device="cpu", checkpoint=Checkpoint())
