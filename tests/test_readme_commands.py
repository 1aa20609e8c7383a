"""The continuous integration runs the two commands of the README."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def listed(root):
    """Return the finished ``.ci/run --list`` of a checkout."""
    command = ["bash", str(root / ".ci" / "run"), "--list"]
    return subprocess.run(command, capture_output=True, text=True)


def test_ci_runs_the_two_commands_of_the_readme():
    blocks = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    first_two = re.findall(r"^\$ (.*)$", "".join(blocks), re.MULTILINE)[:2]
    assert [line.rpartition(" && ")[2] for line in first_two] == [
        "mpqbench run",
        "python -m pytest",
    ]
    done = listed(ROOT)
    assert done.returncode == 0, done.stderr
    *first, style, documents = done.stdout.splitlines()
    assert first == first_two
    assert style.endswith(" && ruff check . && ruff format --check . && mypy")
    assert " && mkdocs build --strict " in documents


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("&& mpqbench run", "&& mpqbench doctor"),
        ("-e '.[test]' && python -m pytest", "-e '.[test]'"),
        ("$ python -m pip install .", "$ pip install ."),
        ("```console\n$ python", "```console\n$ python -m pip install pytest\n$ python"),
    ],
)
def test_ci_refuses_other_commands(tmp_path, old, new):
    assert old in README
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "README.md").write_text(README.replace(old, new, 1), encoding="utf-8")
    done = listed(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("README.md must have exactly two console lines")
    assert len(done.stderr.splitlines()) == 1
