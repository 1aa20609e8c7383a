"""Provenance says what is known, and ``None`` for the rest."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from mpqbench.records import provenance


def _git(folder, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def package(tmp_path):
    """A tracked package in a git work tree of its own."""
    folder = tmp_path / "tree" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("x = 1\n", encoding="utf-8")
    _git(folder.parent, "init", "-q")
    _git(folder.parent, "add", "-A")
    _git(folder.parent, "commit", "-q", "-m", "first")
    return folder


def test_commit_of_a_tracked_package_and_its_changes(package):
    commit = provenance.git_commit(package)
    assert commit is not None
    assert len(commit) == 40
    (package / "__init__.py").write_text("x = 2\n", encoding="utf-8")
    assert provenance.git_commit(package) == f"{commit}-dirty"


def test_no_commit_for_a_package_that_a_work_tree_merely_surrounds(package):
    installed = package.parent / "venv" / "installed"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("", encoding="utf-8")
    assert provenance.git_commit(installed) is None


def test_no_commit_outside_a_work_tree_or_without_git(tmp_path, package, monkeypatch):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "__init__.py").write_text("", encoding="utf-8")
    assert provenance.git_commit(alone) is None
    monkeypatch.setenv("PATH", "")
    assert provenance.git_commit(package) is None


def test_collect_gives_utc_times_and_real_versions():
    started = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    found = provenance.collect(started)
    assert found.started == "2026-01-01T10:00:00+00:00"
    assert datetime.fromisoformat(found.finished).utcoffset() == timedelta(0)
    assert found.finished >= datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    import numpy

    assert found.numpy == numpy.__version__


def test_importing_and_collecting_does_not_import_torch():
    script = (
        "import sys; from datetime import datetime, UTC;"
        "from mpqbench.records import provenance, store;"
        "found = provenance.collect(datetime.now(UTC));"
        "assert 'torch' not in sys.modules; print(found.threads, found.gpu)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True
    )
    assert run.stdout.split() == ["None", "None"]
