"""``unbiased`` against errors that are planted, and least squares done another way."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpqbench.baselines.corrections.unbiased import DCTBands, Unbiased
from mpqbench.conformance.correction import sample_step
from mpqbench.contracts import CorrectionStep, Mixture, Prediction
from mpqbench.core.errors import Diverged

SIGNAL = 0.4
RATIO = ((1 - SIGNAL) / SIGNAL) ** 0.5


def planted(a, b, c, lost, offset=0.0, rest=0.0, signal=SIGNAL, seed=0):
    """A step whose error has these coefficients in every channel, and independent noise."""
    step = sample_step(signal, guided=True, seed=seed)
    full = step.full
    image = (step.latents - (1 - signal) ** 0.5 * full.noise) / signal**0.5
    generator = torch.Generator().manual_seed(seed + 100)
    wild = rest * torch.randn(image.shape, generator=generator)
    error = a * image + b * full.noise + c * full.contrast + offset + wild
    quantized = Prediction(full.noise + error, (1 + lost) * full.contrast)
    return replace(step, quantized=quantized)  # wanted is full precision's noise: no drift


def corrected(step, **parameters):
    fitted = Unbiased(**parameters).fit(step)
    return fitted(step.quantized, step.latents)


small = st.floats(-0.2, 0.2)


@given(a=small, b=small, c=small, lost=small, offset=small, bands=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_an_error_of_its_form_is_taken_away_whole(a, b, c, lost, offset, bands):
    step = planted(a, b, c, lost, offset)
    found = corrected(step, bands=bands)
    torch.testing.assert_close(found, step.full.noise, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("level", [1.0, 0.7, 0.05])
def test_with_flow_matching_the_velocity_is_corrected(level):
    generator = torch.Generator().manual_seed(5)
    image, noise, contrast = (torch.randn(40, 2, 4, 4, generator=generator) for _ in range(3))
    full, latents = Prediction(noise - image, contrast), (1 - level) * image + level * noise
    error = 0.03 * image - 0.05 * noise + 0.02 * contrast + 0.01
    quantized = Prediction(full.noise + error, contrast)
    mixture = Mixture(image=(1.0, -level), noise=(1.0, 1 - level))
    step = CorrectionStep(0, 20, mixture, latents, quantized, full, latents, full, full.noise)
    torch.testing.assert_close(corrected(step), full.noise, atol=2e-5, rtol=1e-4)


def test_an_error_of_one_band_leaves_the_others_alone():
    step = sample_step(SIGNAL, guided=True)
    image = (step.latents - (1 - SIGNAL) ** 0.5 * step.full.noise) / SIGNAL**0.5
    waves = DCTBands(image, 5)
    fine = waves.of(image) * waves.bands[-1]
    noise = step.full.noise + 0.1 * waves.back(fine).float()
    step = replace(step, quantized=Prediction(noise, step.full.contrast))
    torch.testing.assert_close(corrected(step), step.full.noise, atol=2e-5, rtol=1e-5)
    coarse = corrected(step, bands=1) - step.full.noise
    assert float(coarse.abs().max()) > 0.01


def test_what_is_left_does_not_follow_what_full_precision_predicts():
    step = planted(0.05, -0.02, -0.1, -0.1, 0.01, rest=0.2)
    before = step.quantized.noise - step.full.noise
    after = corrected(step) - step.full.noise
    image = (step.latents - (1 - SIGNAL) ** 0.5 * step.full.noise) / SIGNAL**0.5
    assert slope(before, image) == pytest.approx(0.05, abs=0.01)
    assert abs(slope(after, image)) < 0.01
    assert float(after.mean(0).abs().max()) < 1e-5
    # It makes right on average, and therefore not smaller: what is independent stays.
    assert float(after.std()) > 0.2


def slope(error, image):
    """Least squares through numpy, at each place less the mean over images."""
    error, image = ((part - part.mean(0)).double().numpy().ravel() for part in (error, image))
    return float(np.dot(error, image) / np.dot(image, image))


def test_coefficients_are_those_of_least_squares_done_another_way():
    """One band: from factors of noise, latent and contrast back to a, b and c, against numpy."""
    step = planted(0.04, 0.03, -0.08, -0.1, rest=0.1)
    fitted = Unbiased(bands=1, horizon=0).fit(step)
    image = (step.latents - (1 - SIGNAL) ** 0.5 * step.full.noise) / SIGNAL**0.5
    zeros = torch.zeros_like(step.latents)
    unit = torch.ones_like(zeros)

    def factor(noise, latents, contrast):
        base = fitted(Prediction(zeros, zeros), zeros)
        return (fitted(Prediction(noise, contrast), latents) - base)[0, :, 0, 0].double().numpy()

    of_noise, of_latent = factor(unit, zeros, zeros), factor(zeros, unit, zeros)
    of_contrast = factor(zeros, zeros, unit)
    a = -of_latent / of_noise * SIGNAL**0.5
    b = 1 / of_noise - 1 + a * RATIO
    error = step.quantized.noise - step.full.noise
    for channel in range(4):
        parts = [part[:, channel] for part in (image, step.full.noise, step.full.contrast, error)]
        table = np.stack([(p - p.mean(0)).double().numpy().ravel() for p in parts], axis=1)
        wanted = np.linalg.solve(table[:, :3].T @ table[:, :3], table[:, :3].T @ table[:, 3])
        kept = step.quantized.contrast[:, channel].double().numpy().ravel()
        whole = step.full.contrast[:, channel].double().numpy().ravel()
        left = np.dot(kept, whole) / np.dot(whole, whole)
        found = [a[channel], b[channel], -of_contrast[channel] / of_noise[channel] * left]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (4, 6), (5, 3)])
def test_waves_are_scipys_cosine_transform(shape):
    values = torch.randn(3, 2, *shape, generator=torch.Generator().manual_seed(1))
    waves = DCTBands(values, 4)
    wanted = scipy.fft.dctn(values.double().numpy(), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(waves.of(values).numpy(), wanted, atol=1e-12)
    torch.testing.assert_close(waves.back(waves.of(values)).float(), values)
    assert sum(band.int() for band in waves.bands).eq(1).all()


def test_an_error_that_is_not_finite_diverges():
    with pytest.raises(Diverged, match="not finite"):
        corrected(planted(0, 0, 0, 0, offset=float("inf")))


def test_nothing_is_more_than_doubled():
    """An image or a noise that would take more, and a contrast that is gone."""
    zeros = torch.zeros_like(planted(0, 0, 0, 0).latents)
    for step in (planted(1.5, 0, 0, 0), planted(0, -0.8, 0, 0), planted(0.2, -1.5, 0, 0)):
        fitted = Unbiased().fit(step)
        base = fitted(Prediction(zeros, zeros), zeros)
        gained = fitted(Prediction(step.full.noise, zeros), zeros) - base
        torch.testing.assert_close(gained, 2 * step.full.noise, atol=1e-4, rtol=1e-4)
    step = planted(0, 0, -0.1, -0.9)
    fitted = Unbiased().fit(step)
    base = fitted(Prediction(zeros, zeros), zeros)
    gained = fitted(Prediction(zeros, step.full.contrast), zeros) - base
    torch.testing.assert_close(gained, 0.2 * step.full.contrast, atol=1e-4, rtol=1e-4)


def test_in_nearly_pure_noise_no_image_is_made_up():
    """Its standard error times 150 would be most of the noise; the rest is still taken away."""
    step = planted(0.0, 0.02, -0.1, -0.1, rest=0.1, signal=4e-5)
    fitted = Unbiased().fit(step)
    zeros = torch.zeros_like(step.latents)
    of_latent = fitted(Prediction(zeros, zeros), step.latents) - fitted(
        Prediction(zeros, zeros), zeros
    )
    assert not of_latent.any()
    after = corrected(step) - step.full.noise
    assert abs(slope(after, step.full.noise)) < 0.01


def test_drift_is_led_back():
    """A tenth of the image is gone from all latents: in one step, or over the horizon."""
    step = planted(0, 0, 0, 0)
    image = (step.latents - (1 - SIGNAL) ** 0.5 * step.full.noise) / SIGNAL**0.5
    drift = 0.1 * image + 0.03
    step = replace(step, wanted=step.full.noise - drift)
    for horizon, share in ((0, 0), (0.05, 1), (0.25, 0.2)):
        moved = corrected(step, horizon=horizon) - step.full.noise
        # The corrected noise holds its own image: solved for, it is a fraction more.
        factor = slope(moved, image) * (1 - 0.1 * share * RATIO) / 0.1
        assert factor == pytest.approx(-share, abs=0.02)
    last = replace(step, position=step.steps - 1)
    torch.testing.assert_close(corrected(last), step.full.noise, atol=1e-5, rtol=1e-5)
