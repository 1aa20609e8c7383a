"""A model that does not exist is refused at once: before PyTorch is imported."""

import shutil
import subprocess
import sys

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.dit.configs import check_model

SCRIPT = """
import sys
from mpqbench.cli.main import main
sys.argv = ["mpqbench", "cost", "--precision", "W4A4", "--model", "fashion-ditt"]
try:
    main()
finally:
    print(sorted({"torch", "diffusers", "scipy"} & set(sys.modules)))
"""


def test_cost_of_an_unknown_model_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == "[]\n"
    assert "unknown model 'fashion-ditt'; did you mean 'fashion-dit'?" in done.stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "unknown model ''"),
        ("random:dit", "unknown configuration 'dit'"),
        ("./nowhere/model", "does not exist: give the folder of a saved pipeline"),
        ("~nosuchuser/model", "'~nosuchuser/model' cannot be read"),
        ("x" * 300 + "/y", "cannot be read: .*too long"),
        ("a\0b", "unknown model"),
        ("/dev/null", "is a file, not a folder"),
        ("/dev", "/dev is not a pipeline folder: model_index.json is missing"),
    ],
)
def test_what_is_no_model_is_refused_in_one_sentence(name, sentence):
    with pytest.raises(BenchError, match=sentence):
        check_model(name)


@pytest.mark.parametrize("name", ["fashion-dit", "random:dit-xl-2-256", "dit-xl-2-512"])
def test_known_models_are_models(name):
    check_model(name)


def test_a_folder_that_begins_with_a_tilde_is_a_folder(tiny_folder, tmp_path, monkeypatch):
    shutil.copytree(tiny_folder, tmp_path / "~dit")
    monkeypatch.chdir(tmp_path)
    check_model("~dit")
