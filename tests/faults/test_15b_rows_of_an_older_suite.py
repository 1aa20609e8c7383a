"""Rows that the suite no longer has are told, and stay out of its table."""

import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

SUITE = """
name: mine
protocol: {base: smoke, images: 40, features: none}
budgets: [W8A8, W4A4]
methods:
  - {name: own, base: rtn}
  - rtn
"""


@pytest.fixture
def folder(tmp_path, tiny_folder):
    """A suite with its own copy of the tiny model."""
    (tmp_path / "mine.yaml").write_text(SUITE, encoding="utf-8")
    shutil.copytree(tiny_folder, tmp_path / "model")
    return tmp_path


@pytest.fixture
def run(mpqbench, folder):
    """Runs the suite with these changes of its file."""

    def call(*arguments, changes=(), verb="run"):
        path = folder / "mine.yaml"
        for old, new in changes:
            assert old in path.read_text(encoding="utf-8")
            path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        if verb == "report":
            return mpqbench("report", folder / "out")
        fixed = ["--model", folder / "model", "--out", folder / "out"]
        return mpqbench("run", path, *fixed, *arguments)

    return call


def rows(folder):
    table = pd.read_csv(folder / "out/leaderboard.csv")
    return {f"{row.method} {row.budget}" for row in table.itertuples()}


EVERY = {"full-precision FP", "own W8A8", "own W4A4", "rtn W8A8", "rtn W4A4"}


def test_a_changed_recipe_keeps_its_old_rows_out(run, folder):
    assert run()[0] == 0
    assert rows(folder) == EVERY
    change = [("base: rtn}", "base: rtn, attention_bits: 8}")]
    code, out, _ = run("--budget", "W4A4", changes=change)
    assert code == 0
    assert "own__W8A8" in out
    assert "the recipe of 'own', or its code, has changed since" in " ".join(out.split())
    assert rows(folder) == EVERY - {"own W8A8"}
    assert list((folder / "out/records").glob("*own__W8A8*"))  # the file stays
    markdown = (folder / "out/leaderboard.md").read_text(encoding="utf-8")
    assert "has changed since" in markdown
    assert run(verb="report")[0] == 0
    assert rows(folder) == EVERY - {"own W8A8"}
    assert run()[0] == 0  # measured again: nothing is left out
    assert rows(folder) == EVERY
    assert "Left out" not in (folder / "out/leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_method_that_the_suite_dropped_is_left_out_and_one_not_run_is_kept(run, folder):
    run()
    run("--method", "own")
    assert rows(folder) == EVERY
    _, out, _ = run(changes=[("  - rtn\n", "")])
    assert "the suite has no method 'rtn'" in " ".join(out.split())
    assert rows(folder) == EVERY - {"rtn W8A8", "rtn W4A4"}


@pytest.mark.slow
def test_rows_of_another_protocol_are_left_out(run, folder):
    run("--method", "own", "--images", 48)
    _, out, _ = run("--method", "rtn", "--budget", "W4A4")
    assert "images is 40 now and was 48" in " ".join(out.split())
    assert rows(folder) == {"full-precision FP", "rtn W4A4"}


def test_rows_of_a_model_that_changed_in_place_are_left_out(run, folder):
    run()
    path = next((folder / "model/transformer").glob("*.safetensors"))
    weights = load_file(path)
    name = next(n for n in weights if n.endswith("weight"))
    weights[name] = weights[name] + torch.ones_like(weights[name])
    save_file(weights, path, metadata={"format": "pt"})
    _, out, _ = run("--method", "own")
    assert "has changed since" in out
    assert "record of another model of this name is moved to" in " ".join(out.split())
    assert list(folder.rglob("replaced/**/*full-precision*"))
    assert rows(folder) == EVERY - {"rtn W8A8", "rtn W4A4"}
