"""What is recorded of full precision, against the same numbers taken from whole forwards."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from mpqbench.core.cache import Cache
from mpqbench.core.errors import BenchError, Diverged
from mpqbench.core.protocol import Protocol
from mpqbench.dit import statistics
from mpqbench.dit.calibration import record_calibration
from mpqbench.dit.groups import layer_groups
from mpqbench.dit.held_out import HeldOut, evaluate
from mpqbench.dit.loading import load_model
from mpqbench.dit.recordings import Recordings
from mpqbench.dit.sampling import Sampler
from mpqbench.dit.statistics import StatisticsStore

PROTOCOL = Protocol(name="test", images=8, steps=4, micro_batch=4, calibration=24)
LAYERS = ("blocks.0.attn.qkv", "blocks.1.mlp.down", "blocks.1.adaln")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


@pytest.fixture(scope="module")
def recordings(model, tmp_path_factory):
    return Recordings(model, PROTOCOL, 0, "cpu", Cache(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def store(recordings):
    return recordings.statistics


@pytest.fixture(scope="module")
def calibration(recordings):
    return recordings.inputs()


@pytest.fixture(scope="module")
def seen(model, calibration):
    """Every input of the layers under test in one forward of everything: (images, tokens, in)."""
    found = {}
    modules = {name: model.transformer.get_submodule(group(model, name).layers[0])
               for name in LAYERS}  # fmt: skip
    modules["hidden"] = model.transformer.transformer_blocks[1]
    handles = [
        module.register_forward_pre_hook(lambda _m, args, name=name: found.update({name: args[0]}))
        for name, module in modules.items()
    ]
    with torch.inference_mode():
        model.transformer(calibration.latents, calibration.times, calibration.classes)
    for handle in handles:
        handle.remove()
    return {name: x.reshape(len(x), -1, x.shape[-1]) for name, x in found.items()}


def group(model, name):
    return next(group for group in layer_groups(model.transformer) if group.name == name)


def record(model, seed):
    return record_calibration(Sampler(model, PROTOCOL, seed, "cpu", axis="calibration"))


def test_steps_and_null_classes_have_equal_shares(calibration):
    assert Counter(calibration.times.tolist()) == {0: 6, 333: 6, 666: 6, 999: 6}
    assert int((calibration.classes == 3).sum()) == 12


def test_inputs_are_on_trajectories_of_other_noise_than_evaluated_images(model, calibration):
    found = set()

    def keep(first, position, latents, time, classes):
        found.update((time, tuple(x.flatten()[:4].tolist())) for x in latents)

    list(Sampler(model, PROTOCOL, 0, "cpu", axis="calibration").batches(0, 24, observe=keep))
    for x, t in zip(calibration.latents, calibration.times.tolist(), strict=True):
        assert (t, tuple(x.flatten()[:4].tolist())) in found
    found.clear()
    list(Sampler(model, PROTOCOL, 0, "cpu").batches(0, 24, observe=keep))
    for x, t in zip(calibration.latents, calibration.times.tolist(), strict=True):
        assert (t, tuple(x.flatten()[:4].tolist())) not in found


def test_inputs_depend_on_the_seed_alone(model, calibration):
    assert torch.equal(record(model, 0).latents, calibration.latents)
    assert not torch.equal(record(model, 1).latents, calibration.latents)


@pytest.mark.parametrize("name", LAYERS)
def test_statistics_are_those_of_whole_forwards(model, store, calibration, seen, name):
    own, rows = store.group(group(model, name)), seen[name].flatten(0, 1).double()
    moment = torch.einsum("ni,nj->ij", rows, rows) / len(rows)
    torch.testing.assert_close(own.moment.double(), moment, **CLOSE)
    assert own.steps.tolist() == [999, 666, 333, 0]  # noisiest first
    assert own.inputs.shape == rows.shape
    for index, step in enumerate(own.steps):
        part = seen[name][calibration.times == step].flatten(0, 1)
        torch.testing.assert_close(own.step_maxima[index], part.abs().amax(0), **CLOSE)
        torch.testing.assert_close(own.step_low[index], part.min(), **CLOSE)
        torch.testing.assert_close(own.step_high[index], part.max(), **CLOSE)
        kept, exact = own.inputs[own.times == step], "donot_use_mm_for_euclid_dist"
        assert len(kept) == len(part)
        assert torch.cdist(kept, part, compute_mode=exact).amin(1).max() < 1e-4


def test_block_inputs_are_what_the_block_saw(store, seen):
    torch.testing.assert_close(store.block_inputs(1), seen["hidden"], **CLOSE)


def test_few_rows_are_a_sample_in_equal_shares(model, calibration, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "ROWS", 48)
    store = StatisticsStore(Cache(tmp_path))
    store.gather(model.transformer, calibration, 5, lambda _blocks: None)
    rows = store.group(group(model, "blocks.0.attn.qkv")).inputs
    assert 48 <= len(rows) <= 48 + 5
    assert len(rows.unique(dim=0)) == len(rows)  # no row twice


def test_statistics_that_were_not_gathered_whole_are_not_complete(model, calibration, tmp_path):
    store = StatisticsStore(Cache(tmp_path))

    def stop(_blocks):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.gather(model.transformer, calibration, 8, stop)
    assert store.complete(1)
    assert not store.complete(2)
    (tmp_path / "block-000.pt").write_bytes(b"short")
    assert not store.complete(1)
    with pytest.raises(BenchError, match=r"block-000.* delete"):
        store.group(group(model, "blocks.0.mlp.down"))


def test_held_out_inputs_are_not_those_of_calibration(recordings, calibration):
    held = recordings.held_out.inputs
    assert len(held) == len(calibration) == 24
    assert torch.cdist(held.latents.flatten(1), calibration.latents.flatten(1)).min() > 0.1


def test_the_held_out_error_is_the_mean_squared_difference(model, recordings):
    inputs, outputs = recordings.held_out.inputs, recordings.held_out.outputs
    with torch.inference_mode():
        whole = model.transformer(inputs.latents, inputs.times, inputs.classes).sample
    torch.testing.assert_close(outputs, whole)
    outputs = evaluate(model.transformer, inputs, 3)
    assert HeldOut(inputs, outputs).mse(model.transformer, 3).tolist() == [0.0] * 8
    shifted = HeldOut(inputs, outputs + torch.arange(8)[:, None, None] / 4)
    wanted = [(at / 4) ** 2 for at in range(8)]
    assert shifted.mse(model.transformer, 8).tolist() == pytest.approx(wanted, rel=1e-5)
    outputs[0, 0, 0, 0] = float("nan")
    with pytest.raises(Diverged, match="not finite"):
        HeldOut(inputs, outputs).mse(model.transformer, 8)


def test_recordings_are_made_once_and_read_again(model, recordings, store, monkeypatch):
    held = recordings.held_out
    cache = Cache(recordings.cache.folder.parents[1])
    again = Recordings(model, PROTOCOL, 0, "cpu", cache)
    monkeypatch.setattr("mpqbench.dit.recordings.record_calibration", None)
    assert torch.equal(held.outputs, again.held_out.outputs)
    assert torch.equal(held.inputs.times, again.held_out.inputs.times)
    assert torch.equal(recordings.inputs().latents, again.inputs().latents)
