"""The tuner slot of a recipe, through ``mpqbench run``."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from mpqbench.baselines.roundings.nearest import Nearest

SEARCHED = """
name: tuned
protocol: smoke
budgets: [W3A3]
methods:
  - {base: rtn, name: plain}
  - base: rtn
    name: tuned
    branch: {name: low-rank, rank: 1}
    branch_in_budget: false
    searcher: greedy
    objective: layer-mse
    choices: [W2A2, W2A3, W3A3, W4A3]
"""
TUNED = (
    SEARCHED
    + """\
    tuner: {name: peft, trajectories: 8, held_out: 4, steps: 12, every: 4, warmup: 2, rate: 0.01}
"""
)
GROWN = """\
  - base: rtn
    name: grown
    tuner: {name: peft, adapter: lora, rank: 1, trajectories: 8, held_out: 4, steps: 2, every: 1}
"""
COURSE = ["step", "train_loss", "held_out_loss", "rate_factor"]


@pytest.fixture
def run(mpqbench, tiny_folder, tmp_path):
    """Runs the suite above, or its text changed, into ``tmp_path/NAME``."""

    def call(*arguments, out="out", text=TUNED):
        suite = tmp_path / "tuned.yaml"
        suite.write_text(text)
        fixed = ["--model", tiny_folder, "--features", "none", "--out", tmp_path / out]
        return mpqbench("run", suite, *fixed, *arguments)

    return call


def record(tmp_path, method, out="out"):
    (path,) = (tmp_path / out / "records").glob(f"*__{method}__*")
    return json.loads(path.read_text())


def course(tmp_path, out="out", method="tuned"):
    (path,) = (tmp_path / out / "traces").glob(f"*__{method}__*.tuning.parquet")
    return pd.read_parquet(path)[COURSE]


def images(tmp_path, out, method="tuned"):
    shards = sorted((tmp_path / out / "samples").glob(f"*__{method}__*/shard-*"))
    return [shard.read_bytes() for shard in shards]


def test_a_tuned_job_is_trained_counted_and_recorded(run, tmp_path):
    code, _, _ = run(text=TUNED + GROWN)
    assert code == 0
    plain, tuned = record(tmp_path, "plain"), record(tmp_path, "tuned")
    assert tuned["seconds"]["tune"] > 0
    assert "tune" not in plain["seconds"]
    assert tuned["costs"]["satisfied"]
    assert tuned["costs"]["branch_bitops"] > 0
    losses = course(tmp_path).held_out_loss
    assert len(losses) == 4
    assert losses.min() < losses.iloc[0]
    assert not list((tmp_path / "out" / "traces").glob("*plain*tuning*"))
    grown = record(tmp_path, "grown")
    assert not grown["costs"]["satisfied"]
    assert grown["costs"]["bitops"] > plain["costs"]["bitops"]
    assert "over budget" in (tmp_path / "out" / "leaderboard.md").read_text()


def test_the_held_out_error_in_the_record_is_of_the_tuned_model(run, tmp_path):
    run()
    run(out="untuned", text=SEARCHED)
    tuned, bare = record(tmp_path, "tuned"), record(tmp_path, "tuned", "untuned")
    assert tuned["allocation"] == bare["allocation"]
    kept = {
        name: tuned["scores"][name]["value"] / bare["scores"][name]["value"]
        for name in ("output_mse", "noise_mse")
    }
    # DDIM does not read the variance, and nobody trains it.
    assert kept["noise_mse"] < kept["output_mse"] < 1


def test_training_that_was_stopped_goes_on_to_the_same_images(run, tmp_path, monkeypatch):
    from mpqbench.tuning import checkpoint, loop

    run(out="whole")
    monkeypatch.setattr(checkpoint.Checkpoint, "due", True)
    real, done = loop._Run.one_step, []

    def stop_at_seven(self):
        done.append(self.state.step)
        if len(done) == 8:
            raise KeyboardInterrupt
        real(self)

    monkeypatch.setattr(loop._Run, "one_step", stop_at_seven)
    code, _, err = run(out="resumed")
    assert code == 130
    assert "the same command goes on from here" in err

    def note(self):
        done.append(self.state.step)
        real(self)

    monkeypatch.setattr(loop._Run, "one_step", note)
    code, out, _ = run(out="resumed")
    assert code == 0
    assert "tuning resumes at step 7" in out
    assert done == [*range(8), *range(7, 12)]
    pd.testing.assert_frame_equal(course(tmp_path, "whole"), course(tmp_path, "resumed"))
    assert images(tmp_path, "whole") == images(tmp_path, "resumed")


def test_training_of_other_numbers_is_not_resumed(run, tmp_path, monkeypatch):
    """What is trained are changes: another processor may have rounded otherwise."""
    from mpqbench.tuning import checkpoint, loop

    monkeypatch.setattr(checkpoint.Checkpoint, "due", True)
    real = loop._Run.one_step

    def stop_at_three(self):
        if self.state.step == 3:
            raise KeyboardInterrupt
        real(self)

    monkeypatch.setattr(loop._Run, "one_step", stop_at_three)
    assert run()[0] == 130
    monkeypatch.setattr(loop._Run, "one_step", real)
    rounded = Nearest.round
    monkeypatch.setattr(
        Nearest, "round", lambda self, weight, *rest: rounded(self, weight * 1.001, *rest)
    )
    code, out, _ = run()
    assert (code, "tuning begins anew" in out, "resumes" in out) == (0, True, False)
    assert course(tmp_path)["step"].tolist() == [0, 4, 8, 12]
    before = images(tmp_path, "out")
    code, out, _ = run("--fresh")
    assert (code, "resumes" in out) == (0, False)
    assert images(tmp_path, "out") == before


@pytest.mark.parametrize(
    ("tuner", "message"),
    [("pefd", "unknown tuner 'pefd'"), ("{name: peft, step: 5}", "step")],
)
def test_a_bad_tuner_is_one_sentence(run, tmp_path, tuner, message):
    code, _, err = run(text=f"{SEARCHED}    tuner: {tuner}\n")
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()
