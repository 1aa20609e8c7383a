"""LPIPS and the CLIP score of a run: scores, notes, fingerprints and refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from judging_networks import save_alexnet, save_clip
from pipelines import save_mmdit
from safetensors.torch import load_file, save_file

from mpqbench import api
from mpqbench.core.precision import FULL, Budget
from mpqbench.core.progress import Reporter
from mpqbench.core.protocol import Protocol
from mpqbench.core.recipe import FULL_PRECISION
from mpqbench.core.registry import discover
from mpqbench.core.suite import Job
from mpqbench.job.fingerprints import ranking_fingerprint
from mpqbench.job.resources import Resources
from mpqbench.metrics.clip_score import ClipScorer
from mpqbench.metrics.perceptual import PerceptualDistance
from mpqbench.records.store import RecordStore

ROOT = Path(__file__).parents[2]
TEXTS = ("a red heart", "two cats", "a house", "x", "sun")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The options of a run: a model of 32x32 images with texts of prompts, and both networks."""
    folder = tmp_path_factory.mktemp("parts")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_mmdit(folder / "sd3", sample_size=16)
    embeddings = folder / "sd3" / "embeddings.safetensors"
    save_file(load_file(embeddings), embeddings, {"prompts": json.dumps(TEXTS)})
    save_alexnet(folder / "alexnet.pth")
    return {
        "models": [str(folder / "sd3")],
        "prompt_embeddings": str(embeddings),
        "lpips_weights": str(folder / "alexnet.pth"),
        "clip": str(save_clip(folder / "clip")),
    }


def run(parts, out, **changes):
    settings = {
        "methods": ["rtn"], "budgets": ["W4A4"], "images": 20, "steps": 1, "calibration": 4,
        "features": "none",
    }  # fmt: skip
    given = settings | parts | changes
    return {r.method: r for r in api.run("smoke", out=out, reporter=Reporter(), **given)}


def kept(out, record):
    (file,) = (out / "samples" / record.job).glob("*.npz")
    with np.load(file) as content:
        return content["arr_0"], content["classes"]


def test_scores_are_those_of_the_kept_samples(parts, tmp_path, mpqbench):
    out = tmp_path / "out"
    records = run(parts, out)
    rtn, full = records["rtn"], records["full-precision"]
    images, classes = kept(out, rtn)
    reference, _ = kept(out, full)
    lpips = PerceptualDistance(Path(parts["lpips_weights"])).distances(images, reference)
    assert rtn.scores["lpips"].value == pytest.approx(lpips.mean(), rel=1e-6)
    assert "lpips" not in full.scores
    scorer = ClipScorer(Path(parts["clip"]))
    for record, pictures in ((rtn, images), (full, reference)):
        found, values = record.scores["clip_score"], scorer.scores([(pictures, classes)], TEXTS)
        assert found.value == pytest.approx(values.mean(), rel=1e-6)
        assert len(found.replicates) == 10
        assert found.ci > 0
        assert not record.notes
    code, printed, _ = mpqbench("verify", out)
    assert code == 0, printed
    assert mpqbench("report", out)[0] == 0
    table = (out / "leaderboard.md").read_text(encoding="utf-8")
    assert "| CLIP score |" in table
    assert "| LPIPS |" in table


def test_verify_computes_both_scores_again(parts, tmp_path, mpqbench):
    out, clip, alexnet = tmp_path / "out", tmp_path / "clip", tmp_path / "alexnet.pth"
    shutil.copytree(parts["clip"], clip)
    state = save_alexnet(alexnet)
    run(parts, out, clip=str(clip), lpips_weights=str(alexnet))
    torch.save({name: values.flip(0) for name, values in state.items()}, alexnet)
    projection = load_file(clip / "model.safetensors")
    projection["visual_projection.weight"] *= -1
    save_file(projection, clip / "model.safetensors", {"format": "pt"})
    code, printed, _ = mpqbench("verify", out)
    assert code == 1
    assert printed.count("clip_score is ") == 2
    assert printed.count("lpips is ") == 1


def test_other_networks_are_not_ranked_together(parts, tmp_path):
    def metric(**changes):
        return run(parts, tmp_path / "out", **changes)["rtn"].metric_fingerprint

    both, none = metric(), metric(lpips_weights=None, clip=None)
    assert len({both, none, metric(clip=None), metric(lpips_weights=None)}) == 4
    other = tmp_path / "other.pth"
    save_alexnet(other)
    assert metric(lpips_weights=str(other)) == both  # the weights decide, not their place


def test_without_both_networks_fingerprints_are_those_of_older_records():
    record = RecordStore(ROOT / "leaderboards" / "quick").read_all()[0]
    protocol = Protocol(**record.protocol)
    job = Job(record.model, FULL_PRECISION, Budget(FULL), 0, protocol)
    resources = Resources(discover())
    assert ranking_fingerprint(job, resources) == record.metric_fingerprint
    given = protocol.model_copy(update={"lpips_weights": "a", "clip": "b"})
    assert given.sampling() == protocol.sampling()  # images are those that were there before
    assert replace(job, protocol=given).id != job.id


def test_small_images_have_no_lpips_and_a_note_says_so(parts, tmp_path):
    small = save_mmdit(tmp_path / "small")
    embeddings = {"prompt_embeddings": str(small / "embeddings.safetensors"), "clip": None}
    records = run(parts, tmp_path / "out", models=[str(small)], images=4, **embeddings)
    assert "lpips" not in records["rtn"].scores
    assert "psnr" in records["rtn"].scores
    assert records["rtn"].notes == (
        "LPIPS is left out: it needs images of at least 31x31 pixels, not 16x16",
    )
    assert records["full-precision"].notes == ()


def test_what_cannot_be_scored_is_refused_before_a_job_runs(parts, tiny_folder, tmp_path, mpqbench):
    out = tmp_path / "out"
    common = ("run", "smoke", "--method", "rtn", "--features", "none", "--out", out, "-n")
    prompted = ("--model", parts["models"][0], "--prompt-embeddings", parts["prompt_embeddings"])
    numbered = tmp_path / "numbered.safetensors"
    save_file(load_file(parts["prompt_embeddings"]), numbered)
    for options, said in (
        (("--model", tiny_folder, "--clip", parts["clip"]), "has no texts of prompts"),
        ((*prompted[:3], numbered, "--clip", parts["clip"]), "has no texts of prompts"),
        ((*prompted, "--clip", tmp_path), "is no folder of a CLIP"),
        ((*prompted, "--lpips-weights", tmp_path / "no.pth"), "is no file"),
    ):
        code, _, errors = mpqbench(*common, *options)
        assert code == 2
        assert said in errors
        assert errors.strip().count("\n") == 0
    assert not out.exists()
