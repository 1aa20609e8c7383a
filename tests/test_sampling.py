"""The sampling loop against the original DiT's formulas; calibration inputs lie on its paths."""

from collections import Counter

import numpy as np
import pytest
import torch

from mpqbench.core.errors import BenchError, Diverged
from mpqbench.core.protocol import Protocol
from mpqbench.dit.calibration import record_calibration
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler, image_seed

STEPS, GUIDANCE, SEED = 5, 1.5, 3


def protocol(**changes):
    fields = {"name": "test", "images": 12, "steps": STEPS, "micro_batch": 4, "guidance": GUIDANCE}
    return Protocol(**(fields | changes))


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


def collect(model, count, start=0, **changes):
    sampler = Sampler(model, protocol(**changes), SEED, "cpu")
    batches = list(sampler.batches(start, count))
    latents = np.concatenate([b.latents for b in batches])
    return np.concatenate([b.images for b in batches]), latents


def test_image_i_does_not_depend_on_how_many_are_made_or_where_one_starts(model):
    whole = collect(model, 12)
    few = collect(model, 6)  # ends within a micro-batch
    late = collect(model, 12, start=8)  # as another worker would
    for everything, first, last in zip(whole, few, late, strict=True):
        assert np.array_equal(everything[:6], first)
        assert np.array_equal(everything[8:], last)
        assert not np.array_equal(everything[0], everything[3])  # same class, other noise


def test_watching_sees_the_same_latents_and_decodes_no_image(model, monkeypatch):
    sampler, whole, bare = Sampler(model, protocol(), SEED, "cpu"), [], []
    list(sampler.batches(4, 11, lambda first, at, x, *_: whole.append((first, at, x.clone()))))
    monkeypatch.delattr(Sampler, "_decode")
    counts = sampler.watch(4, 11, lambda first, at, x, *_: bare.append((first, at, x.clone())))
    assert list(counts) == [4, 3]
    assert len(bare) == 2 * STEPS
    assert all(a[:2] == b[:2] and a[2].equal(b[2]) for a, b in zip(whole, bare, strict=True))


def test_classes_are_balanced_and_runs_start_with_a_micro_batch(model):
    sampler = Sampler(model, protocol(), SEED, "cpu")
    classes = np.concatenate([batch.classes for batch in sampler.batches(0, 12)])
    assert np.bincount(classes).tolist() == [4, 4, 4]
    with pytest.raises(BenchError, match="multiple of 4"):
        next(sampler.batches(2, 8))


def original_chain():
    """Respaced betas and kept times as in the original's SpacedDiffusion, in float64."""
    betas = np.linspace(1e-4, 2e-2, 1000)
    bars = np.cumprod(1 - betas)
    kept = [round(i * 999 / (STEPS - 1)) for i in range(STEPS)]
    short, last = [], 1.0
    for t in kept:
        short.append(1 - bars[t] / last)
        last = bars[t]
    return kept, np.array(short)


def guided_output(model, x, t, classes, channels):
    """Original forward_with_cfg: ``channels`` guided, the rest from the conditional half."""
    times = torch.full((len(x),), t)
    null = torch.full_like(classes, 3)
    with torch.no_grad():
        given = model.transformer(x.float(), times, classes).sample.double()
        without = model.transformer(x.float(), times, null).sample.double()
    out = given.clone()
    out[:, :channels] = without[:, :channels] + GUIDANCE * (
        given[:, :channels] - without[:, :channels]
    )
    return out[:, :4], out[:, 4:]


def start(count):
    generators = [torch.Generator().manual_seed(image_seed(SEED, "noise", i)) for i in range(count)]
    x = torch.stack([torch.randn(4, 8, 8, generator=g) for g in generators])
    return generators, x.double(), torch.arange(count) % 3


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_original_convention_is_the_original_code_with_learned_variance(model, sampler):
    _, latents = collect(model, 4, sampler=sampler)
    kept, betas = original_chain()
    bars = np.cumprod(1 - betas)
    before = np.append(1.0, bars[:-1])
    generators, x, classes = start(4)
    for i in reversed(range(STEPS)):
        eps, raw = guided_output(model, x, kept[i], classes, channels=3)
        clean = (x - np.sqrt(1 - bars[i]) * eps) / np.sqrt(bars[i])
        if sampler == "ddim":
            x = np.sqrt(before[i]) * clean + np.sqrt(1 - before[i]) * eps
            continue
        x = (
            betas[i] * np.sqrt(before[i]) / (1 - bars[i]) * clean
            + (1 - before[i]) * np.sqrt(1 - betas[i]) / (1 - bars[i]) * x
        )
        if i:
            posterior = betas[i] * (1 - before[i]) / (1 - bars[i])
            share = (raw + 1) / 2
            log_variance = share * np.log(betas[i]) + (1 - share) * np.log(posterior)
            noise = torch.stack([torch.randn(4, 8, 8, generator=g) for g in generators]).double()
            x += (0.5 * log_variance).exp() * noise
    tolerance = {"ddim": 2e-4, "ddpm": 5e-4}[sampler]
    np.testing.assert_allclose(latents, x.numpy(), rtol=tolerance, atol=tolerance)


def test_diffusers_convention_is_the_diffusers_pipeline(model, tiny_folder):
    """The stock pipeline takes 1000 for the null class, so it is compared without guidance."""
    from diffusers import DiTPipeline

    ours, latents = collect(model, 4, convention="diffusers", guidance=1.0)
    pipeline = DiTPipeline.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(image_seed(SEED, "noise", i)) for i in range(4)]
    decoded = {}
    pipeline.vae.decode = lambda z, **_: decoded.update(z=z) or original_decode(z)
    original_decode = type(pipeline.vae).decode.__get__(pipeline.vae)
    options = {"guidance_scale": 1.0, "num_inference_steps": STEPS, "output_type": "np"}
    images = pipeline([0, 1, 2, 0], generator=generators, **options).images
    final = decoded["z"] * pipeline.vae.config.scaling_factor
    np.testing.assert_allclose(latents, final.numpy(), rtol=1e-4, atol=1e-4)
    assert np.abs(ours.astype(int) - np.round(images * 255).astype(int)).max() <= 1


def test_conventions_differ_in_the_time_embedding(model):
    Sampler(model, protocol(convention="diffusers"), SEED, "cpu")
    embedder = model.transformer.transformer_blocks[0].norm1.emb
    theirs = embedder.time_proj(torch.tensor([999]))
    Sampler(model, protocol(), SEED, "cpu")
    ours = embedder.time_proj(torch.tensor([999]))
    half = torch.arange(128, dtype=torch.float32)
    phase = 999 * torch.exp(-np.log(10000) * half / 128)
    torch.testing.assert_close(ours[0], torch.cat([phase.cos(), phase.sin()]), rtol=0, atol=1e-3)
    assert float((theirs - ours).norm() / ours.norm()) == pytest.approx(1.01, abs=0.02)


def test_a_nan_in_a_weight_is_named_with_its_image(tiny_folder):
    broken = load_model(str(tiny_folder))
    broken.transformer.transformer_blocks[1].ff.net[2].weight[0, 0] = float("nan")
    with pytest.raises(Diverged, match="image 0 is not finite after 5 steps"):
        next(Sampler(broken, protocol(), SEED, "cpu").batches(0, 4))


def test_half_precision_changes_the_transformer_only(tiny_folder):
    _, exact = collect(load_model(str(tiny_folder)), 4)
    model = load_model(str(tiny_folder)).to("cpu", torch.bfloat16)
    images, latents = collect(model, 4, dtype="bfloat16")
    assert model.vae.dtype == torch.float32
    assert images.dtype == np.uint8
    assert 0 < np.linalg.norm(latents - exact) / np.linalg.norm(exact) < 0.02


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_slope_of_a_step_is_that_of_its_formula(model, sampler):
    schedule = Sampler(model, protocol(sampler=sampler), SEED, "cpu").schedule
    _, betas = original_chain()
    bars = np.cumprod(1 - betas)
    for position, i in enumerate(reversed(range(STEPS))):
        before = bars[i - 1] if i else 1.0
        of_clean = -np.sqrt((1 - bars[i]) / bars[i])
        if sampler == "ddim":
            slope = np.sqrt(before) * of_clean + np.sqrt(1 - before)
        else:
            slope = np.sqrt(before) * betas[i] / (1 - bars[i]) * of_clean
        assert schedule.slope(position, 4) == pytest.approx(slope, rel=1e-4)
        assert schedule.signal(position) == pytest.approx(bars[i], rel=1e-5)


PROTOCOL = Protocol(name="test", images=8, steps=4, micro_batch=4, calibration=24)


def recorded(model, seed):
    return record_calibration(Sampler(model, PROTOCOL, seed, "cpu", axis="calibration"))


@pytest.fixture(scope="module")
def calibration(model):
    return recorded(model, 0)


def test_steps_and_null_classes_have_equal_shares(calibration):
    assert Counter(calibration.times.tolist()) == {0: 6, 333: 6, 666: 6, 999: 6}
    assert int((calibration.classes == 3).sum()) == 12


def test_inputs_are_on_the_trajectories_of_the_calibration_axis(model, calibration):
    found = {"calibration": set(), "noise": set()}  # of the second axis, evaluated images are made
    for axis, seen in found.items():

        def keep(_first, _position, latents, time, _classes, seen=seen):
            seen.update((time, tuple(x.flatten()[:4].tolist())) for x in latents)

        list(Sampler(model, PROTOCOL, 0, "cpu", axis=axis).watch(0, 24, keep))
    for x, t in zip(calibration.latents, calibration.times.tolist(), strict=True):
        point = t, tuple(x.flatten()[:4].tolist())
        assert point in found["calibration"]
        assert point not in found["noise"]


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others(model, calibration):
    again = recorded(model, 0)
    other = recorded(model, 1)
    assert torch.equal(again.latents, calibration.latents)
    assert not torch.equal(other.latents, calibration.latents)
