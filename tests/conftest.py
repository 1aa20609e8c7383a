"""Fixtures that all tests share."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis.configuration import set_hypothesis_home_dir
from tiny_pipeline import save_tiny_pipeline

os.environ.setdefault("MPQBENCH_WORKERS", "1")  # commands run their jobs in the process of a test

# Tests leave nothing outside temporary folders: hypothesis would keep its examples in the tree.
_HOME = tempfile.TemporaryDirectory(prefix="hypothesis-")
set_hypothesis_home_dir(_HOME.name)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline folder, shared and not to be changed."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("tiny") / "tiny-dit")


@pytest.fixture
def own_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny pipeline folder, to be changed."""
    return shutil.copytree(tiny_folder, tmp_path / "own")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small tensors: threads would only get in each other's way."""
    torch.set_num_threads(1)


@pytest.fixture
def mpqbench(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Calls the command line; gives (exit code, stdout, stderr).

    Runs and reports have no figures, except in tests that take ``drawn`` or ``undrawn`` as well.
    """
    from mpqbench.cli.main import main

    if not {"drawn", "undrawn"} & {*request.fixturenames}:
        monkeypatch.setattr("mpqbench.report.write.save_all", lambda *_: [])

    def call(*arguments: object):
        monkeypatch.setattr(sys, "argv", ["mpqbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def drawn() -> None:
    """Figures are drawn: for tests of the whole way to their files."""


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are files without a picture, for tests of what comes before and beside drawing."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"undrawn"))
