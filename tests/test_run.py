"""``mpqbench run`` as a user meets it: resume, jobs that end badly."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

BAD_PLUGINS = """
import torch
from mpqbench.contracts import QuantizedWeight, Rounding, Searcher, plugin
from mpqbench.core.errors import Infeasible
from mpqbench.core.precision import Allocation


@plugin
class Broken(Rounding):
    def round(self, weight, layer, fmt, bits):
        scale = torch.full((len(weight), 1), float("nan"))
        return QuantizedWeight(torch.zeros_like(weight, dtype=torch.int16), scale, scale, bits)


@plugin
class Crash(Rounding):
    def round(self, weight, layer, fmt, bits):
        return weight.no_such_method()


@plugin
class Hopeless(Searcher):
    def search(self, problem):
        raise Infeasible("the cheapest allocation costs 5 of 4")


@plugin
class Spender(Searcher):
    def search(self, problem):
        return Allocation({g: problem.choices(g)[-1] for g in problem.groups})


PLUGINS = {
    "rounding": {"broken": Broken, "crash": Crash},
    "searcher": {"hopeless": Hopeless, "spender": Spender},
}
"""


@pytest.fixture
def run(mpqbench, tiny_folder, tmp_path):
    """Runs the smoke suite on the tiny model without features, into ``tmp_path/out``."""

    def call(*arguments, suite="smoke"):
        fixed = ["--model", tiny_folder, "--features", "none", "--out", tmp_path / "out"]
        return mpqbench("run", suite, *fixed, *arguments)

    return call


def table(tmp_path):
    return pd.read_csv(tmp_path / "out" / "leaderboard.csv").set_index("budget")


def samples(tmp_path):
    """{job: images} of a run."""
    folders = sorted((tmp_path / "out" / "samples").iterdir())
    return {
        folder.name: np.concatenate([np.load(f)["arr_0"] for f in sorted(folder.glob("*.npz"))])
        for folder in folders
    }


def test_a_suite_becomes_records_a_leaderboard_and_figures(drawn, run, tmp_path):
    code, out, _ = run()
    assert (code, out.count("seed 0")) == (0, 3)
    rows = table(tmp_path)
    assert list(rows.index) == ["FP", "W8A8", "W4A4"]
    assert set(rows.status) == {"done"}
    assert rows.satisfied.all()
    assert rows.latent_mse["W4A4"] > rows.latent_mse["W8A8"] > 0
    assert rows.bitops["FP"] > rows.bitops["W8A8"] > rows.bitops["W4A4"]
    assert list((tmp_path / "out" / "figures").glob("*.pdf"))
    allocation = json.loads(next((tmp_path / "out/allocations").glob("*W4A4*")).read_text())
    assert allocation["blocks.0.attn.qkv"] == "W4A4"
    assert allocation["blocks.0.adaln"] == "W8A8"


def test_a_method_without_a_bound_is_full_precision(run, tmp_path):
    assert run("--budget", "FP", "--method", "svdquant")[0] == 0
    full, method = pd.read_csv(tmp_path / "out" / "leaderboard.csv").itertuples()
    assert (full.method, method.method) == ("full-precision", "svdquant")
    assert (method.output_mse, method.latent_mse) == (0, 0)
    assert (method.bitops, method.bytes) == (full.bitops, full.bytes)


def test_the_same_command_again_runs_nothing_and_fresh_runs_all(run, tmp_path):
    run()
    record = next((tmp_path / "out/records").glob("*W4A4*"))
    before, images = record.stat().st_mtime_ns, samples(tmp_path)
    code, out, _ = run()
    assert (code, out.count("done before")) == (0, 3)
    assert record.stat().st_mtime_ns == before
    _, out, _ = run("--fresh")
    assert "done before" not in out
    assert record.stat().st_mtime_ns > before
    for job, array in samples(tmp_path).items():
        assert np.array_equal(array, images[job])


@pytest.mark.parametrize("sizes", [(500, 500), (32, 64)])
def test_more_images_keep_the_first_ones_whatever_the_batch_size(run, tmp_path, sizes):
    run("--images", 40, "--budget", "W4A4", "--batch-size", sizes[0])
    few = {job.rpartition("__p")[0]: array for job, array in samples(tmp_path).items()}
    run("--images", 96, "--budget", "W4A4", "--batch-size", sizes[1])
    rows = table(tmp_path)
    assert set(rows.n_images) == {96}  # those of the first run are kept but left out
    whole, before = samples(tmp_path), rows.latent_mse["W4A4"]
    many = {job: array for job, array in whole.items() if len(array) == 96}
    assert len(many) == 2
    run("--images", 96, "--budget", "W4A4", "--fresh")
    assert table(tmp_path).latent_mse["W4A4"] == before
    for job, array in many.items():
        assert np.array_equal(samples(tmp_path)[job], array)
        assert np.array_equal(array[:40], few[job.rpartition("__p")[0]])


def test_a_damaged_shard_is_made_again(run, tmp_path):
    run("--images", 40, "--budget", "W4A4")
    whole = samples(tmp_path)
    for record in (tmp_path / "out" / "records").glob("*"):
        record.unlink()
    for shard in (tmp_path / "out" / "samples").glob("*/shard-*"):
        shard.write_bytes(b"" if "FP" in str(shard) else shard.read_bytes()[:-50])
    assert run("--images", 40, "--budget", "W4A4")[0] == 0
    for job, array in samples(tmp_path).items():
        assert np.array_equal(array, whole[job])


def test_full_precision_that_lost_its_samples_is_sampled_again_for_others(run, tmp_path):
    run("--budget", "W8A8")
    whole = samples(tmp_path)
    shutil.rmtree(tmp_path / "out/samples")
    code, out, _ = run("--budget", "W8A8")
    assert (code, "lost its samples" in out) == (0, False)  # nothing to pair with it
    code, out, _ = run("--budget", "W4A4")
    assert (code, out.count("full precision has lost its samples")) == (0, 1)
    again = samples(tmp_path)
    (job,) = (job for job in again if "full-precision" in job)
    assert np.array_equal(again[job], whole[job])


def test_damaged_statistics_are_gathered_again_and_damage_is_told(run, tmp_path):
    run("--budget", "W4A4", "--method", "gptq")
    error = table(tmp_path).output_mse["W4A4"]
    (block,) = (tmp_path / "out/cache").rglob("calibration/block-001.pt")
    block.write_bytes(block.read_bytes()[:-1])
    code, out, _ = run("--budget", "W4A4", "--method", "gptq", "--fresh")
    assert (code, out.count("block-001.pt is damaged")) == (0, 1)
    assert table(tmp_path).output_mse["W4A4"] == error


def test_an_interrupted_run_goes_on_after_its_last_whole_shard(run, tmp_path, monkeypatch):
    from mpqbench.dit.sampling import Sampler

    real, firsts = Sampler._denoise, []

    def stop_at_32(self, first, *given):
        if self.axis != "noise":
            return real(self, first, *given)
        firsts.append(first)
        if first == 32 and len(firsts) == 2:
            raise KeyboardInterrupt
        return real(self, first, *given)

    monkeypatch.setattr(Sampler, "_denoise", stop_at_32)
    code, _, err = run("--budget", "W4A4", "--batch-size", 32)
    assert code == 130
    assert "the same command resumes here" in err
    assert not list((tmp_path / "out").glob("records/*"))
    code, _, _ = run("--budget", "W4A4", "--batch-size", 32)
    assert code == 0
    assert firsts == [0, 32, 32, 0, 32]  # the first shard of full precision was not made again


@pytest.fixture
def bad_plugins(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(BAD_PLUGINS)
    return path


def bad_suite(tmp_path, *methods):
    path = tmp_path / "bad.yaml"
    lines = "".join(f"  - {{name: bad-{k}-{v}, {k}: {v}}}\n" for k, v in methods)
    path.write_text(f"protocol: smoke\nbudgets: [W4A4]\nmethods:\n{lines}")
    return path


def test_jobs_that_end_badly_are_rows_with_a_reason(run, tmp_path, bad_plugins):
    rounding, searcher = ("broken", "crash"), ("hopeless", "spender")
    methods = [*(("rounding", name) for name in rounding), *(("searcher", n) for n in searcher)]
    code, _, _ = run("--plugins", bad_plugins, suite=bad_suite(tmp_path, *methods))
    assert code == 1
    rows = table(tmp_path).reset_index().set_index("method")
    assert rows.status.to_dict() == {
        "full-precision": "done",
        "bad-rounding-broken": "diverged",
        "bad-rounding-crash": "failed",
        "bad-searcher-hopeless": "infeasible",
        "bad-searcher-spender": "done",
    }
    assert "transformer_blocks.0" in rows.reason["bad-rounding-broken"]
    assert "no_such_method" in rows.reason["bad-rounding-crash"]
    assert "5 of 4" in rows.reason["bad-searcher-hopeless"]
    assert not rows.satisfied["bad-searcher-spender"]  # counted by the harness, not by the plugin
    log = next((tmp_path / "out" / "logs").glob("*crash*")).read_text()
    assert "Traceback" in log


def test_a_failed_job_is_run_again(run, tmp_path, bad_plugins):
    suite = bad_suite(tmp_path, ("rounding", "crash"))
    run("--plugins", bad_plugins, suite=suite)
    bad_plugins.write_text(BAD_PLUGINS.replace("weight.no_such_method()", "None"))
    _, out, _ = run("--plugins", bad_plugins, suite=suite)
    assert out.count("done before") == 1


def test_dry_run_shows_the_resolved_suite_and_writes_nothing(run, tmp_path):
    code, out, _ = run("--dry-run", "--images", 10)
    assert code == 0
    assert "images: 10" in out
    assert out.count("to run") == 3
    assert not (tmp_path / "out").exists()


def test_a_method_named_is_the_suites_own_or_a_registered_one(mpqbench, tmp_path):
    out = ("--budget", "W3A3", "--formats", "g32", "--out", tmp_path / "out", "-n")
    methods = ("--method", "groups", "--method", "rtn")
    code, text, _ = mpqbench("run", "equal-terms", *methods, *out)
    assert code == 0
    assert text.count("__W3A3__g32__s101") == 2 * 3  # three realizations
    _, whole, _ = mpqbench("run", "equal-terms", *out)
    fingerprints = [
        dict(re.findall(r"__([^_]+)__\S+ +(\w+) +to run", own)) for own in (text, whole)
    ]
    assert list(fingerprints[0]) == ["full-precision", "groups", "rtn"]
    assert fingerprints[0]["groups"] == fingerprints[1]["groups"]
