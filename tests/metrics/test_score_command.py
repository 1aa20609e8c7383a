from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mpqbench.cli.score import score
from mpqbench.core.errors import BenchError


@pytest.fixture
def run(tmp_path, make_images, fashion_weights):
    """Runs the command on a folder of two shards against a reference of images."""
    np.savez(tmp_path / "reference.npz", make_images(50, seed=1))
    samples = tmp_path / "samples"
    samples.mkdir()
    for index, part in enumerate(np.split(make_images(40, seed=2, brightness=100), 2)):
        np.savez(samples / f"shard-{index}.npz", arr_0=part, classes=np.arange(20) % 10)

    def invoke(*options, reference="reference.npz"):
        arguments = [str(samples), "--reference", str(tmp_path / reference)]
        arguments += ["--feature-weights", str(fashion_weights), *options]
        return CliRunner().invoke(score, arguments, env={"COLUMNS": "100"})

    return invoke


def test_the_table_and_the_json_hold_count_reference_and_metrics(run):
    done = run()
    assert done.exit_code == 0, done.output
    assert "N = 40, reference reference.npz (50 images)" in done.output
    rows = [line.split("│")[1].strip() for line in done.output.splitlines() if "│" in line]
    assert rows == ["FD", "sFD", "IS", "Precision", "Recall", "KID"]
    assert "FID" not in done.output
    result = json.loads(run("--json").output)
    assert (result["count"], result["reference"]["count"]) == (40, 50)
    assert result["features"]["name"] == "fashion"
    assert len(result["fingerprint"]) == 16
    distance = result["metrics"]["fd"]
    assert distance["label"] == "FD"
    assert distance["ci"] > 0
    assert result["metrics"]["precision"]["ci"] is None
    assert f"{distance['value']:.5g}" in done.output


def test_mistakes_are_one_sentence(run):
    unknown, absent = run("--features", "inception"), run(reference="nowhere")
    for done, sentence in (
        (unknown, "unknown feature network 'inception'"),
        (absent, "nowhere does not exist"),
        (run("--device", "warp"), "device 'warp'"),
    ):
        assert isinstance(done.exception, BenchError)
        assert sentence in str(done.exception)
