"""Trajectories of full precision: recorded once, resumable, on noise of their own."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.core.cache import Cache
from mpqbench.core.errors import BenchError
from mpqbench.core.protocol import Protocol
from mpqbench.dit.calibration import record_calibration
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.tuning import trajectories
from mpqbench.tuning.checkpoint import Checkpoint
from mpqbench.tuning.student import distillation_data
from mpqbench.tuning.trajectories import HELD_OUT, TRAIN, record_trajectories

PROTOCOL = Protocol(name="test", images=8, steps=6, micro_batch=4, calibration=8)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


@pytest.fixture(scope="module")
def recorded(model, tmp_path_factory):
    return record(tmp_path_factory.mktemp("trajectories"), model, 8)


def record(folder, model, images, protocol=PROTOCOL, axis=TRAIN):
    sampler = Sampler(model, protocol, 0, "cpu", axis=axis)
    return record_trajectories(sampler, images, Cache(folder))


def test_every_step_of_every_image_comes_with_what_full_precision_gives(model, recorded):
    rows = recorded
    assert len(rows) == 8 * 6
    assert rows.times.unique(return_counts=True)[1].tolist() == [8] * 6
    assert int((rows.classes == model.classes).sum()) == 8 * 3  # the null class: half of them
    with torch.inference_mode():
        given = model.transformer(rows.latents, rows.times, rows.classes).sample
    assert given.shape[1] == 8  # noise and variance, of which DDIM reads the noise
    torch.testing.assert_close(rows.outputs, given[:, :4])


def test_the_signal_is_the_share_of_the_image_in_the_latent(recorded):
    # Linear betas from 1e-4 to 2e-2 over 1,000 steps, as the tiny pipeline has them.
    kept = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))
    rows = recorded
    torch.testing.assert_close(
        rows.signal, torch.tensor(kept[rows.times.numpy()]).float(), rtol=1e-4, atol=1e-6
    )


def test_noise_is_neither_evaluated_nor_calibration_nor_held_out(model, recorded, tmp_path):
    rows = recorded
    held = record(tmp_path, model, 4, axis=HELD_OUT)
    others = [
        record_calibration(Sampler(model, PROTOCOL, 0, "cpu", axis=axis))
        for axis in ("calibration", "noise")
    ]
    for latents in (held.latents, *(other.latents for other in others)):
        assert torch.cdist(rows.latents.flatten(1), latents.flatten(1)).min() > 0.1


def test_recording_goes_on_where_it_was_stopped(model, recorded, tmp_path, monkeypatch):
    record(tmp_path, model, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["trajectories-000000.pt"]
    made = []
    monkeypatch.setattr(
        trajectories,
        "_recorded",
        lambda sampler, first, plain=trajectories._recorded: (
            made.append(first) or plain(sampler, first)
        ),
    )
    again = record(tmp_path, model, 8)
    assert made == [4]
    for name, part in vars(recorded).items():
        assert torch.equal(getattr(again, name), part)


def data(tuner, model, folder):
    sampler_of = partial(Sampler, model, PROTOCOL, 0, "cpu")
    return distillation_data(tuner, sampler_of, Cache(folder), Checkpoint())


def test_the_data_is_what_the_tuner_asks_for(model, tmp_path):
    tuner = PEFT(trajectories=3, held_out=5)
    first = data(tuner, model, tmp_path)
    assert (len(first.train), len(first.held_out)) == (4 * 6, 8 * 6)  # whole micro-batches
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    assert len(written) == 3
    assert torch.equal(data(tuner, model, tmp_path).train.outputs, first.train.outputs)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")} == written


def test_too_long_a_span_is_found_before_anything_is_recorded(model, tmp_path):
    with pytest.raises(BenchError, match="span 8 is longer than a recorded trajectory of 6 steps"):
        data(PEFT(span=8), model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_long_trajectories_are_thinned(model, tmp_path, monkeypatch):
    monkeypatch.setattr(trajectories, "KEPT_STEPS", 2)
    rows = record(tmp_path, model, 4)
    assert len(rows) == 4 * 2
    assert int((rows.classes == model.classes).sum()) == 4


def test_a_span_is_walked_by_the_formula_of_the_sampler(model, tmp_path):
    """Without guidance a row and its output give the next row of the same image (DDIM)."""
    plain = PROTOCOL.model_copy(update={"guidance": 1.0})
    rows = record(tmp_path, model, 8, plain)
    assert not (rows.classes == model.classes).any()
    assert rows.images.unique(return_counts=True)[1].tolist() == [6] * 8
    spans = rows.spans(2)
    assert len(spans) == 8 * 5
    here, there = rows.rows(spans[:, 0]), rows.rows(spans[:, 1])
    before, after = here.signal.view(-1, 1, 1, 1), there.signal.view(-1, 1, 1, 1)
    clean = (here.latents - (1 - before).sqrt() * here.outputs) / before.sqrt()
    walked = after.sqrt() * clean + (1 - after).sqrt() * here.outputs
    torch.testing.assert_close(there.latents, walked, rtol=1e-3, atol=1e-3)


def test_spans_are_all_neighbours_on_the_way_of_one_image(recorded):
    rows = recorded
    shuffled = rows.rows(torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)))
    ways = {int(n): rows.times.unique().flip(0).tolist() for n in rows.images.unique()}
    expected = {(n, tuple(way[at : at + 4])) for n, way in ways.items() for at in range(3)}
    spans = shuffled.spans(4)
    own = shuffled.images[spans]
    assert torch.equal(own, own[:, :1].expand(-1, 4))
    found = {
        (int(n), tuple(times))
        for n, times in zip(own[:, 0], shuffled.times[spans].tolist(), strict=True)
    }
    assert len(spans) == len(expected) == 24
    assert found == expected
    assert rows.spans(1).flatten().tolist() == list(range(48))
    with pytest.raises(BenchError, match="span 7 is longer than a recorded trajectory of 6 steps"):
        rows.spans(7)


def test_minibatches_are_whole_spans(recorded):
    rows = recorded
    batch = rows.minibatch(0, 12, seed=1, span=3)
    assert len(batch) == 12
    assert torch.equal(*batch.images.view(4, 3)[:, [0, 2]].unbind(1))
    assert bool((batch.times.view(4, 3).diff(dim=1) < 0).all())
    seen = torch.cat([rows.minibatch(s, 12, seed=1, span=3).times[::3] for s in range(8)])
    assert len(seen) == len(rows.spans(3))
    assert seen.sort().values.tolist() == rows.times[rows.spans(3)[:, 0]].sort().values.tolist()


def test_an_epoch_of_minibatches_meets_every_row_once(recorded):
    numbered = replace(recorded, times=torch.arange(48))
    seen = torch.cat([numbered.minibatch(step, 7, seed=1).times for step in range(48)])
    assert len(seen) == 7 * 48
    for epoch in seen.view(7, 48):
        assert epoch.sort().values.tolist() == list(range(48))
    assert not torch.equal(seen[:48], seen[48:96])
    assert torch.equal(numbered.minibatch(9, 7, seed=1).times, seen[63:70])
    assert not torch.equal(numbered.minibatch(9, 7, seed=2).times, seen[63:70])
    assert len(numbered.minibatch(0, 100, seed=1)) == 100  # more than there are rows
