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
    images = make_images(40, seed=2, brightness=100)
    samples = tmp_path / "samples"
    samples.mkdir()
    for index in range(2):
        part = slice(20 * index, 20 * index + 20)
        classes = np.arange(20) % 10
        np.savez(samples / f"shard-{index}.npz", arr_0=images[part], classes=classes)

    def invoke(*options, reference="reference.npz"):
        arguments = [str(samples), "--reference", str(tmp_path / reference)]
        arguments += ["--feature-weights", str(fashion_weights), *options]
        return CliRunner().invoke(score, arguments, env={"COLUMNS": "100"})

    return invoke


def test_table_names_count_reference_and_metrics(run):
    done = run()
    assert done.exit_code == 0, done.output
    assert "N = 40, reference reference.npz (50 images)" in done.output
    rows = [line.split("│")[1].strip() for line in done.output.splitlines() if "│" in line]
    assert rows == ["FD", "sFD", "IS", "Precision", "Recall", "KID"]
    assert "FID" not in done.output


def test_json_holds_what_the_table_shows(run):
    done = run("--json")
    result = json.loads(done.output)
    assert (result["count"], result["reference"]["count"]) == (40, 50)
    assert result["features"]["name"] == "fashion"
    assert len(result["fingerprint"]) == 16
    metrics = result["metrics"]
    assert metrics["fd"]["label"] == "FD"
    assert metrics["fd"]["value"] > 0
    assert metrics["fd"]["ci"] > 0
    assert metrics["precision"]["ci"] is None
    assert f"{metrics['fd']['value']:.5g}" in run().output


def test_mistakes_propagate_as_one_sentence(run):
    assert isinstance(run("--features", "inception").exception, BenchError)
    error = run(reference="nowhere").exception
    assert isinstance(error, BenchError)
    assert "nowhere does not exist" in str(error)
    assert "device 'warp'" in str(run("--device", "warp").exception)
