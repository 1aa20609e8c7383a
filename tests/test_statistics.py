"""Calibration statistics against the same numbers taken from whole forwards."""

from __future__ import annotations

import pytest
import torch

from mpqbench.core.cache import Cache
from mpqbench.core.errors import BenchError
from mpqbench.core.protocol import Protocol
from mpqbench.dit import statistics
from mpqbench.dit.calibration import record_calibration
from mpqbench.dit.groups import layer_groups
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.dit.statistics import StatisticsStore

PROTOCOL = Protocol(name="test", images=8, steps=4, micro_batch=4, calibration=24)
LAYERS = ("blocks.0.attn.qkv", "blocks.1.mlp.down", "blocks.1.adaln")


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


@pytest.fixture(scope="module")
def calibration(model):
    return record_calibration(Sampler(model, PROTOCOL, 0, "cpu", axis="calibration"))


@pytest.fixture(scope="module")
def store(model, calibration, tmp_path_factory):
    store = StatisticsStore(Cache(tmp_path_factory.mktemp("statistics")))
    store.gather(model.transformer, calibration, 4, lambda _blocks: None)
    return store


@pytest.fixture(scope="module")
def seen(model, calibration):
    """Every input of the layers under test in one forward of everything: (images, tokens, in)."""
    found = {}
    groups = {group.name: group for group in layer_groups(model.transformer)}
    handles = [
        model.transformer.get_submodule(groups[name].layers[0]).register_forward_pre_hook(
            lambda _module, args, name=name: found.update({name: args[0]})
        )
        for name in LAYERS
    ]
    handles.append(
        model.transformer.transformer_blocks[1].register_forward_pre_hook(
            lambda _module, args: found.update(hidden=args[0])
        )
    )
    with torch.inference_mode():
        model.transformer(calibration.latents, calibration.times, calibration.classes)
    for handle in handles:
        handle.remove()
    return {name: x.reshape(len(x), -1, x.shape[-1]) for name, x in found.items()}


def _group(model, name):
    return next(group for group in layer_groups(model.transformer) if group.name == name)


@pytest.mark.parametrize("name", LAYERS)
def test_moments_are_means_of_outer_products(model, store, seen, name):
    rows = seen[name].flatten(0, 1).double()
    expected = torch.einsum("ni,nj->ij", rows, rows) / len(rows)
    torch.testing.assert_close(
        store.group(_group(model, name)).moment.double(), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", LAYERS)
def test_steps_have_their_own_ranges_noisiest_first(model, store, calibration, seen, name):
    own = store.group(_group(model, name))
    assert own.steps.tolist() == [999, 666, 333, 0]
    for index, step in enumerate(own.steps):
        part = seen[name][calibration.times == step]
        maxima = part.flatten(0, 1).abs().amax(0)
        torch.testing.assert_close(own.step_maxima[index], maxima, rtol=1e-4, atol=1e-5)
        assert float(own.step_low[index]) == pytest.approx(float(part.min()), rel=1e-4, abs=1e-5)
        assert float(own.step_high[index]) == pytest.approx(float(part.max()), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_rows_are_what_the_layer_saw_at_their_times(model, store, calibration, seen, name):
    own = store.group(_group(model, name))
    assert own.inputs.shape == (seen[name].shape[0] * seen[name].shape[1], seen[name].shape[2])
    for step in (999, 0):
        kept = own.inputs[own.times == step]
        rows = seen[name][calibration.times == step].flatten(0, 1)
        assert len(kept) == len(rows)
        exact = "donot_use_mm_for_euclid_dist"
        assert torch.cdist(kept, rows, compute_mode=exact).amin(1).max() < 1e-4


def test_few_rows_are_a_sample_in_equal_shares(model, calibration, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "ROWS", 48)
    store = StatisticsStore(Cache(tmp_path))
    store.gather(model.transformer, calibration, 5, lambda _blocks: None)
    own = store.group(_group(model, "blocks.0.attn.qkv"))
    assert 48 <= len(own.inputs) <= 48 + 5
    positions = own.inputs.unique(dim=0)
    assert len(positions) == len(own.inputs)  # no row twice


def test_block_inputs_are_what_the_block_saw(store, seen):
    torch.testing.assert_close(store.block_inputs(1), seen["hidden"], rtol=1e-4, atol=1e-5)


def test_a_gathering_that_was_stopped_is_not_complete(model, calibration, tmp_path):
    store = StatisticsStore(Cache(tmp_path))

    def stop(_blocks):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.gather(model.transformer, calibration, 8, stop)
    assert not store.complete(2)
    assert store.complete(1)


def test_a_damaged_block_is_told_before_it_is_used(model, calibration, tmp_path):
    store = StatisticsStore(Cache(tmp_path))
    store.gather(model.transformer, calibration, 8, lambda _blocks: None)
    assert store.complete(2)
    (tmp_path / "block-001.pt").write_bytes(b"short")
    assert not store.complete(2)
    with pytest.raises(BenchError, match=r"block-001.* delete"):
        store.group(_group(model, "blocks.1.mlp.down"))
