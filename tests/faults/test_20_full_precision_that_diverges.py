"""Without full precision nothing is compared: the exit status and the leaderboard say so."""

import shutil

import pytest
import torch
from records_of import record_of
from safetensors.torch import load_file, save_file

from mpqbench.report.table import leaderboard


@pytest.fixture
def broken_folder(tmp_path, tiny_folder):
    """A tiny model whose numbers overflow."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    path = next((folder / "transformer").glob("*.safetensors"))
    weights = {
        name: torch.full_like(value, 3e38) if "proj_out" in name else value
        for name, value in load_file(path).items()
    }
    save_file(weights, path, metadata={"format": "pt"})
    return folder


def test_a_run_without_full_precision_fails_and_says_why(mpqbench, broken_folder, tmp_path):
    fixed = ["--features", "none", "--budget", "W4A4", "--out", tmp_path / "out"]
    code, out, _ = mpqbench("run", "smoke", "--model", broken_folder, *fixed)
    assert code == 1
    text = " ".join(out.split())
    assert "Full precision of seed 0 is diverged (" in text
    assert "its other jobs have nothing to be compared with" in text
    markdown = (tmp_path / "out/leaderboard.md").read_text(encoding="utf-8")
    assert "Full precision of seed 0 is diverged" in markdown


def test_a_row_that_lost_its_full_precision_is_not_ranked():
    rows = [record_of("rtn", "W4A4", 3.0, metric="older"), record_of("gptq", "W4A4", 9.0)]
    table = leaderboard([*rows, record_of("full-precision", "FP", 2.0)])
    found = {row["method"]: (row["rank"], row["fd_delta"], row["remark"]) for row in table.rows}
    assert found["gptq"] == (1, 7.0, "")
    rank, delta, remark = found["rtn"]
    assert (rank, delta) == (None, None)
    assert "not paired with full precision and not ranked: this seed has none" in remark
