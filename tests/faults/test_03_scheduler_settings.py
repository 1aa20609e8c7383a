"""Every scheduler setting is honoured, or refused by name before a job runs."""

import numpy as np
import pytest
import torch
from tiny_pipeline import edit_json

from mpqbench.core.errors import BenchError
from mpqbench.core.protocol import Protocol
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler, image_seed
from mpqbench.dit.schedule import build_schedule
from mpqbench.dit.scheduler_configs import SchedulerConfig

LEVELS, STEPS = 100, 5
PLAIN = {"num_train_timesteps": LEVELS, "clip_sample": False}


def schedule(sampler="ddim", convention="original", doubled=True, steps=STEPS, **settings):
    config = SchedulerConfig(**(PLAIN | settings))
    return build_schedule(config, sampler, steps, convention, doubled)


@pytest.mark.parametrize(
    ("settings", "sampler"),
    [
        ({"prediction_type": "v_prediction"}, "ddim"),
        ({"prediction_type": "sample"}, "ddpm"),
        ({"rescale_betas_zero_snr": True}, "ddim"),
        ({"clip_sample": True}, "ddpm"),
        ({"thresholding": True}, "ddim"),
        ({"timestep_spacing": "trailing"}, "ddim"),
        ({"steps_offset": 1}, "ddim"),
        ({"set_alpha_to_one": False}, "ddim"),
    ],
)
def test_what_the_original_convention_ignores_is_refused_and_diffusers_honours(settings, sampler):
    (key,) = settings
    with pytest.raises(BenchError, match=rf"{key} is .*--convention diffusers"):
        schedule(sampler, **settings)
    made = schedule(sampler, "diffusers", **settings).scheduler.config
    assert made[key] == settings[key]


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_settings_of_the_other_sampler_do_not_matter(sampler):
    foreign = {"ddim": {"variance_type": "learned"}, "ddpm": {"set_alpha_to_one": False}}[sampler]
    assert schedule(sampler, **foreign).model_times == schedule(sampler).model_times


def cosine_signal(share):
    return np.cos((share + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2


def test_noise_levels_of_the_model_are_those_of_its_formula():
    kept = [round(i * (LEVELS - 1) / (STEPS - 1)) for i in range(STEPS)][::-1]
    own, steep = np.linspace(1e-3, 5e-2, LEVELS), np.linspace(1e-3, 0.1, LEVELS)
    square_root = np.linspace(1e-2, np.sqrt(2e-2), LEVELS)
    for settings, wanted in (
        ({"trained_betas": own.tolist()}, np.cumprod(1 - own)[kept]),
        ({"beta_schedule": "scaled_linear"}, np.cumprod(1 - square_root**2)[kept]),
        (
            {"beta_start": 1e-3, "beta_end": 0.1},
            np.cumprod(1 - steep)[kept],
        ),
    ):
        made = schedule(**settings)
        assert made.model_times == kept
        found = [made.signal(position) for position in range(STEPS)]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    made = schedule(beta_schedule="squaredcos_cap_v2")
    found = [made.signal(position) for position in range(1, STEPS)]  # the last beta has a cap
    wanted = cosine_signal((np.array(kept[1:]) + 1) / LEVELS)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_two_steps_of_levels_with_almost_no_signal_are_exact(sampler):
    """The short chain has a beta of 1 - 1e-11, which is 1 in float32."""
    betas = np.linspace(1e-3, 5e-2, 1000)
    own = {"num_train_timesteps": 1000, "trained_betas": betas.tolist()}
    made = schedule(sampler, steps=2, doubled=False, **own)
    bars = np.cumprod(1 - betas)
    assert made.signal(0) == pytest.approx(bars[-1], rel=1e-6)
    of_clean = -np.sqrt((1 - bars[-1]) / bars[-1])
    beta = 1 - bars[-1] / bars[0]
    wanted = {
        "ddim": np.sqrt(bars[0]) * of_clean + np.sqrt(1 - bars[0]),
        "ddpm": np.sqrt(bars[0]) * beta / (1 - bars[-1]) * of_clean,
    }
    assert made.slope(0, 4) == pytest.approx(wanted[sampler], rel=1e-4)


def test_without_learned_variance_ddpm_has_the_upper_bound_as_the_code_of_dit():
    """Noise of variance beta (Ho et al., arXiv 2006.11239, section 3.2), but none at the end."""
    betas = np.linspace(1e-4, 2e-2, LEVELS)
    bars = np.cumprod(1 - betas)
    made = schedule("ddpm", doubled=False)
    x = torch.full((1, 4, 8, 8), 0.3)
    noise = torch.full_like(x, 0.1)
    kept = made.model_times
    for position, level in enumerate(kept):
        before = bars[kept[position + 1]] if position + 1 < STEPS else 1.0
        beta = 1 - bars[level] / before
        clean = (0.3 - np.sqrt(1 - bars[level]) * 0.1) / np.sqrt(bars[level])
        mean = np.sqrt(before) * beta * clean + np.sqrt(1 - beta) * (1 - before) * 0.3
        mean /= 1 - bars[level]
        generators = [torch.Generator().manual_seed(7)]
        drawn = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(7))
        deviation = np.sqrt(beta) if position + 1 < STEPS else 0.0
        wanted = mean + deviation * drawn
        found = made.step(noise, position, x, generators)[0]
        torch.testing.assert_close(found, wanted.float(), rtol=1e-4, atol=1e-4)


def test_a_variance_in_the_file_is_honoured_or_contradicts_the_transformer():
    small = schedule("ddpm", doubled=False, variance_type="fixed_small")
    assert small.scheduler.config.variance_type == "fixed_small"
    assert schedule("ddpm", doubled=True).learned_variance
    for variance, doubled in (("learned_range", False), ("fixed_small", True)):
        with pytest.raises(BenchError, match=r"variance_type .* predicts"):
            schedule("ddpm", doubled=doubled, variance_type=variance)
    for variance in ("learned", "fixed_large_log"):
        with pytest.raises(BenchError, match="variance_type"):
            schedule("ddpm", variance_type=variance)
    with pytest.raises(BenchError, match=r"learned_range.*--convention original"):
        schedule("ddpm", "diffusers", variance_type="learned_range")


@pytest.mark.parametrize("convention", ["original", "diffusers"])
def test_steps_beyond_the_noise_levels_are_refused(convention):
    with pytest.raises(BenchError, match="100 noise levels: 101"):
        schedule(convention=convention, steps=101)
    with pytest.raises(BenchError, match="steps_offset 1 gives no 100 steps"):
        schedule(convention="diffusers", steps=100, steps_offset=1)


def test_v_prediction_changes_images_under_the_convention_that_honours_it(own_folder):
    edit_json(own_folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    fields = {"name": "t", "images": 2, "steps": 2, "micro_batch": 2, "guidance": 1.0}
    protocol = Protocol(**fields, convention="diffusers")
    model = load_model(str(own_folder))
    latents = next(Sampler(model, protocol, 0, "cpu").batches(0, 2)).latents
    noise = [torch.Generator().manual_seed(image_seed(0, "noise", i)) for i in range(2)]
    x = torch.stack([torch.randn(4, 8, 8, generator=g) for g in noise]).double()
    bars = np.append(np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000)), 1.0)
    for level, before in ((500, 0), (0, -1)):
        times, classes = torch.full((2,), level), torch.arange(2)
        with torch.no_grad():
            v = model.transformer(x.float(), times, classes).sample[:, :4].double()
        clean = np.sqrt(bars[level]) * x - np.sqrt(1 - bars[level]) * v
        epsilon = np.sqrt(bars[level]) * v + np.sqrt(1 - bars[level]) * x
        x = np.sqrt(bars[before]) * clean + np.sqrt(1 - bars[before]) * epsilon
    np.testing.assert_allclose(latents, x.numpy(), rtol=1e-3, atol=1e-3)


def test_the_epsilon_of_the_file_is_that_of_the_diffusers_convention(own_folder, tiny_folder):
    edit_json(own_folder / "transformer" / "config.json", norm_eps=1e-6)
    for where, wanted in ((own_folder, 1e-6), (tiny_folder, 1e-5)):
        model = load_model(str(where))
        transformer, configure = model.transformer, model.architecture.configure
        configure(transformer, Protocol(name="a", images=1, steps=1, convention="diffusers"))
        assert transformer.transformer_blocks[0].norm3.eps == wanted
        configure(transformer, Protocol(name="b", images=1, steps=1))
        assert transformer.transformer_blocks[0].norm3.eps == 1e-6


def test_a_run_is_refused_before_any_job(own_folder, tmp_path, mpqbench):
    edit_json(own_folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    options = ("--features", "none", "--method", "rtn", "--out", tmp_path / "out")
    code, _, error = mpqbench("run", "smoke", "--model", own_folder, *options)
    assert code == 2
    assert "scheduler_config.json: prediction_type" in error
    assert str(own_folder) in error
    assert not list(tmp_path.glob("out/records/*"))
