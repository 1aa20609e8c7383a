"""The example package, installed into a virtual environment of its own."""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "mpqbench-dither"


def run(*words, **options):
    """A command; its output where it succeeds."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, env=_environment(), **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _environment():
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    return inherited | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that has the example, and sees what this one has."""
    folder = tmp_path_factory.mktemp("example")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # addsitedir also follows the .pth files there, such as that of an editable install.
    ours = [sysconfig.get_path("purelib"), *site.getsitepackages()]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(ours)]
    (Path(purelib) / "zz_outer.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = shutil.copytree(EXAMPLE, folder / "source")  # building writes beside the sources
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", *offline, source)
    return python


def verb(python, *words):
    return run(python, "-c", "from mpqbench.cli.main import main; main()", *words)


@pytest.mark.slow
def test_the_example_is_found_listed_and_conforms(python, tmp_path):
    listed = {line.split()[0]: line for line in verb(python, "list").splitlines() if line.strip()}
    assert "Rounds up or down at random" in listed["dither"]
    assert "Puts the largest channels first" in listed["reorder"]
    for name in ("dither", "reorder"):
        assert listed[name].endswith("[package mpqbench-dither (mpqbench_dither)]")
    for name, kind in (("dither", "rounding"), ("reorder", "transform")):
        shown = verb(python, "info", name)
        assert f"{kind} '{name}' of package mpqbench-dither (mpqbench_dither)" in shown
        assert str(python.parents[1]) in shown.partition("file: ")[2]
        assert " checks passed" in verb(python, "check", name)
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    out = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=tmp_path)
    assert " passed" in out


@pytest.mark.slow
def test_the_example_is_not_found_without_being_installed():
    listed = run(sys.executable, "-c", "from mpqbench.cli.main import main; main()", "list")
    assert "dither" not in listed
