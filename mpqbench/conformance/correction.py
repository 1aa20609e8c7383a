"""Checks of corrections, on synthetic sampling steps with guidance and without."""

from dataclasses import replace

import torch

from ..contracts import Correction, CorrectionStep, Mixture, Prediction
from ..quant.verify import expect, expect_correction, expect_tensor
from .check import Check, checks_of, expect_repeatable

IMAGES, SHAPE = 24, (4, 6, 6)
SIGNALS = {0: 2e-5, 9: 0.4, 19: 0.999}  # of the first, a middle and the last of twenty steps
SAME = 1e-4


def checks(plugin: Correction, quick: bool) -> list[Check]:
    """Return all checks of a correction; one that asks for no images has one check."""
    tests = _CorrectionChecks(plugin)
    found = checks_of(["images"], tests.images)
    if plugin.images != 0:
        methods = (
            tests.noise,
            tests.unchanged,
            tests.single,
            tests.cost,
            tests.repeatable,
            tests.kept,
        )
        found += checks_of(list(tests.steps), *methods)
    return found


class _CorrectionChecks:
    def __init__(self, plugin: Correction) -> None:
        self.plugin = plugin
        self.steps = {"a step without guidance": sample_step(0.4, guided=False, seed=3)}
        for seed, (position, signal) in enumerate(SIGNALS.items()):
            step = sample_step(signal, guided=True, seed=seed)
            self.steps[f"a step of signal {signal:g}"] = replace(step, position=position)

    def images(self, _: str) -> None:
        """``images`` is a whole number, 0 where nothing is corrected."""
        count = self.plugin.images
        expect(type(count) is int and count >= 0, f"{count!r} is no number of images")

    def noise(self, name: str) -> None:
        """A correction gives finite float32 noise of the shape of the latents."""
        step = self.steps[name]
        expect_tensor("the noise", self._corrected(step), step.latents.shape)

    def unchanged(self, name: str) -> None:
        """Where the quantized model predicts what full precision does, nothing changes."""
        step, full = self.steps[name], self.steps[name].full
        corrected = self._corrected(replace(step, quantized=full, wanted=full.noise))
        change = float((corrected - full.noise).abs().max())
        expect(change <= SAME, f"without an error the noise changes by {change:.3g}")

    def single(self, name: str) -> None:
        """An image is corrected alike by itself and among others."""
        step = self.steps[name]
        one = Prediction(step.quantized.noise[3:4], step.quantized.contrast[3:4])
        alone, whole = self.plugin.fit(step)(one, step.latents[3:4])[0], self._corrected(step)[3]
        far = float((alone - whole).abs().max())
        expect(far <= SAME, f"image 3 by itself differs by {far:.3g}")

    def cost(self, name: str) -> None:
        """The size covers what is executed and held."""
        step = self.steps[name]
        fitted, size = self.plugin.fit(step), self.plugin.size(SHAPE)
        expect_correction(fitted, size, step.quantized, step.latents)
        expect(type(size.numbers) is int and size.numbers >= 0, f"numbers is {size.numbers!r}")

    def repeatable(self, name: str) -> None:
        """One step gives one correction; arguments and global generators are left alone."""
        expect_repeatable(
            "no generator", lambda step: [self._corrected(step)], step=self.steps[name]
        )

    def kept(self, name: str) -> None:
        """What ``pack`` gives, if anything, makes the same correction again, bit for bit."""
        step = self.steps[name]
        fitted = self.plugin.fit(step)
        parts = self.plugin.pack(fitted)
        if parts is None:
            return
        copies = {name: part.detach().clone() for name, part in parts.items()}
        one = fitted(step.quantized, step.latents)
        again = self.plugin.unpack(copies)(step.quantized, step.latents)
        expect(torch.equal(one, again), "a correction that was kept gives other noise")

    def _corrected(self, step: CorrectionStep) -> torch.Tensor:
        return self.plugin.fit(step)(step.quantized, step.latents)


def sample_step(signal: float, *, guided: bool, seed: int = 0) -> CorrectionStep:
    """Return a step that loses 3 % of the image and 10 % of the contrast, with noise on top.

    Quantized and full-precision latents are the same.
    """
    generator = torch.Generator().manual_seed(seed)
    image, noise, contrast, rest, lost = (
        torch.randn(IMAGES, *SHAPE, generator=generator) for _ in range(5)
    )
    contrast = 0.2 * contrast if guided else torch.zeros_like(contrast)
    scale, spread = signal**0.5, (1 - signal) ** 0.5
    mixture = Mixture(image=(1 / scale, -spread / scale), noise=(0.0, 1.0))
    full, latents = Prediction(noise, contrast), scale * image + spread * noise
    error = 0.03 * scale * image - 0.1 * contrast + 0.02 * rest + 0.01
    quantized = Prediction(noise + error, 0.9 * contrast + (0.01 * lost if guided else 0.0))
    return CorrectionStep(9, 20, mixture, latents, quantized, full, latents, full, noise)
