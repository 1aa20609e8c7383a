"""19: images smaller than SSIM's window fail after sampling and lose PSNR."""

import json

import pytest
from tiny_pipeline import save_tiny_pipeline

from mpqbench.metrics.fidelity import ssim_missing


def test_psnr_is_kept_and_a_note_says_that_ssim_is_left_out(mpqbench, tmp_path):
    model = save_tiny_pipeline(tmp_path / "small", sample_size=4)
    code, _, errors = mpqbench(
        "run", "smoke", "--model", model, "--features", "none", "--images", 4, "--steps", 1,
        "--method", "rtn", "--budget", "W8A8", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, errors
    records = [
        json.loads(p.read_text(encoding="utf-8")) for p in (tmp_path / "out/records").glob("*.json")
    ]
    quantized = [record for record in records if record["method"] == "rtn"]
    assert quantized
    for record in quantized:
        assert record["status"] == "done", record["reason"]
        assert {"psnr", "latent_mse"} <= set(record["scores"])
        assert "ssim" not in record["scores"]
        assert "SSIM is left out: it needs images of at least 11x11 pixels" in record["notes"][0]


@pytest.mark.parametrize(("side", "fits"), [(10, False), (11, True)])
def test_the_smallest_size(side, fits):
    assert (ssim_missing((side, 32, 3)) is None) == fits
