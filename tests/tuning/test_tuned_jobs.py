"""The tuner slot of a recipe, in whole runs."""

import json

import pandas as pd
import pytest
from lines import Lines

from mpqbench import api
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.tuning import checkpoint, loop

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
TUNER = "{name: peft, trajectories: 8, held_out: 4, steps: 12, every: 4, warmup: 2, rate: 0.01}"
TUNED = f"{SEARCHED}    tuner: {TUNER}\n"
GROWN = """\
  - base: rtn
    name: grown
    tuner: {name: peft, adapter: lora, rank: 1, trajectories: 8, held_out: 4, steps: 2, every: 1}
"""
COURSE = ["step", "train_loss", "held_out_loss", "rate_factor"]


def run(folder, model, text=TUNED, **settings):
    """Run a suite into ``folder``; return what was said."""
    suite, lines = folder / "tuned.yaml", Lines()
    suite.write_text(text)
    settings |= {"models": [str(model)], "features": "none", "reporter": lines}
    api.run(str(suite), out=folder, **settings)
    return lines.text


@pytest.fixture(scope="module")
def whole(tiny_folder, tmp_path_factory):
    """The folder of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("tuned")
    run(folder, tiny_folder, TUNED + GROWN)
    return folder


def record(folder, method):
    (path,) = (folder / "records").glob(f"*__{method}__*")
    return json.loads(path.read_text())


def course(folder):
    (path,) = (folder / "traces").glob("*__tuned__*.tuning.parquet")
    return pd.read_parquet(path)[COURSE]


def images(folder):
    return [shard.read_bytes() for shard in sorted(folder.glob("samples/*__tuned__*/shard-*"))]


def test_a_tuned_job_is_trained_counted_and_recorded(whole):
    plain, tuned, grown = (record(whole, method) for method in ("plain", "tuned", "grown"))
    assert tuned["seconds"]["tune"] > 0
    assert "tune" not in plain["seconds"]
    assert tuned["costs"]["satisfied"]
    assert tuned["costs"]["branch_bitops"] > 0
    losses = course(whole).held_out_loss
    assert len(losses) == 4
    assert losses.min() < losses.iloc[0]
    assert not list((whole / "traces").glob("*plain*tuning*"))
    assert not grown["costs"]["satisfied"]
    assert grown["costs"]["bitops"] > plain["costs"]["bitops"]


def test_the_held_out_error_in_the_record_is_of_the_tuned_model(whole, tiny_folder, tmp_path):
    run(tmp_path, tiny_folder, SEARCHED)
    tuned, bare = record(whole, "tuned"), record(tmp_path, "tuned")
    assert tuned["allocation"] == bare["allocation"]
    output, noise = (
        tuned["scores"][name]["value"] / bare["scores"][name]["value"]
        for name in ("output_mse", "noise_mse")
    )
    assert noise < output < 1  # DDIM does not read the variance, and nobody trains it


@pytest.fixture
def stop_at(monkeypatch):
    """Stops a training before a step; gives the steps of that training and of the next ones."""
    monkeypatch.setattr(checkpoint.Checkpoint, "due", True)
    one_step, steps = loop._Run.one_step, []

    def call(step):
        def stopping(self):
            steps.append(self.state.step)
            if len(steps) == step + 1:
                raise KeyboardInterrupt
            one_step(self)

        monkeypatch.setattr(loop._Run, "one_step", stopping)
        return steps

    return call


def test_a_stopped_training_is_resumed_to_the_same_images(whole, tiny_folder, tmp_path, stop_at):
    steps = stop_at(7)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tiny_folder)
    assert "tuning resumes at step 7" in run(tmp_path, tiny_folder)
    assert steps == [*range(8), *range(7, 12)]
    pd.testing.assert_frame_equal(course(whole), course(tmp_path))
    assert images(whole) == images(tmp_path)


def test_a_training_of_other_numbers_is_not_resumed(tiny_folder, tmp_path, stop_at, monkeypatch):
    """What is trained are changes: another processor may have rounded otherwise."""
    stop_at(3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tiny_folder)
    plain = Nearest.round
    monkeypatch.setattr(Nearest, "round", lambda self, w, *rest: plain(self, w * 1.001, *rest))
    said = run(tmp_path, tiny_folder)
    assert "tuning begins anew" in said
    assert "resumes" not in said
    assert course(tmp_path)["step"].tolist() == [0, 4, 8, 12]
    before = images(tmp_path)
    assert "resumes" not in run(tmp_path, tiny_folder, fresh=True)
    assert images(tmp_path) == before
