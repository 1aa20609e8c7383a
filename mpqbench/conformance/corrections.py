"""What a correction promises: on made-up steps, with guidance and without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from ..contracts import Correction, CorrectionStep, FittedCorrection, Prediction
from .check import Check, attempt, check_of, expect, own_generators_only, unmodified

IMAGES, SHAPE = 24, (4, 6, 6)
SIGNALS = (2e-5, 0.4, 0.999)  # of the first, a middle and the last of twenty steps
SAME = 1e-4
PROMISE = "every step whose error is small must have a correction"


class CorrectionChecks:
    """The checks of one correction."""

    def __init__(self, plugin: Correction) -> None:
        self.plugin = plugin

    def all(self) -> list[Check]:
        """All checks; one that wants no image corrects nothing, and there is no more to see."""
        found = [check_of(self.images)]
        if getattr(self.plugin, "images", 0):
            found += map(check_of, (self.noise, self.nothing, self.single, self.cost, self.same))
        return found

    def images(self) -> None:
        """``images`` is a whole number, 0 where nothing is corrected."""
        count = getattr(self.plugin, "images", None)
        expect(type(count) is int and count >= 0, f"images is {count!r}, no number of images")

    def noise(self) -> None:
        """It gives finite float32 noise of the latents' shape."""
        for name, step in sample_steps():
            given = self._corrected(name, step)
            as_asked = given.shape == step.latents.shape and given.dtype == torch.float32
            expect(
                as_asked, f"{name}: it gives {given.dtype} {tuple(given.shape)}, not the latents'"
            )
            expect(given.isfinite().all(), f"{name}: its noise is not finite")

    def nothing(self) -> None:
        """Where the quantized model predicts what full precision does, nothing changes."""
        for name, step in sample_steps():
            same = replace(step, quantized=step.full, wanted=step.full.noise)
            given = self._call(name, self._fitted(name, same), step.full, step.latents)
            change = float((given - step.full.noise).abs().max())
            expect(change <= SAME, f"{name}: without an error it changes the noise by {change:.3g}")

    def single(self) -> None:
        """An image is corrected alike by itself and among others."""
        for name, step in sample_steps():
            fitted, whole = self._fitted(name, step), self._corrected(name, step)
            own = Prediction(step.quantized.noise[3:4], step.quantized.contrast[3:4])
            far = float(
                (self._call(name, fitted, own, step.latents[3:4])[0] - whole[3]).abs().max()
            )
            expect(far <= SAME, f"{name}: image 3 by itself differs by {far:.3g}")

    def cost(self) -> None:
        """``numbers`` and ``macs_per_value`` are whole numbers."""
        for name, step in sample_steps():
            fitted = self._fitted(name, step)
            for what in ("numbers", "macs_per_value"):
                value = getattr(fitted, what, None)
                expect(type(value) is int and value >= 0, f"{name}: {what} is {value!r}")

    def same(self) -> None:
        """One step gives one correction; global generators and what it is given are left alone."""
        for name, step in sample_steps():
            pair = []
            for seed in (1, 2):
                alone = own_generators_only(name, seed, "draw nothing at random")
                with alone, unmodified(name, step=step):
                    pair.append(self._corrected(name, step))
            expect(torch.equal(*pair), f"{name}: two fits differ; they must be identical")

    def _corrected(self, name: str, step: CorrectionStep) -> torch.Tensor:
        return self._call(name, self._fitted(name, step), step.quantized, step.latents)

    def _call(
        self, name: str, fitted: FittedCorrection, given: Prediction, latents: torch.Tensor
    ) -> torch.Tensor:
        return attempt(name, "a call", lambda: fitted(given, latents), PROMISE)

    def _fitted(self, name: str, step: CorrectionStep) -> FittedCorrection:
        return attempt(name, "fit", lambda: self.plugin.fit(step), PROMISE)


def sample_steps() -> Iterator[tuple[str, CorrectionStep]]:
    """Each signal with guidance, and one step without, by name; the first and the last of 20."""
    for number, (position, signal) in enumerate(zip((0, 9, 19), SIGNALS, strict=True)):
        step = replace(sample_step(signal, guided=True, seed=number), position=position)
        yield f"a step of signal {signal:g}", step
    yield "a step of signal 0.4 without guidance", sample_step(0.4, guided=False, seed=3)


def sample_step(signal: float, *, guided: bool, seed: int = 0) -> CorrectionStep:
    """Images of which 3 % are lost, 10 % of the contrast, and noise on top; nothing has drifted."""
    generator = torch.Generator().manual_seed(seed)
    image, noise, contrast, rest, lost = (
        torch.randn(IMAGES, *SHAPE, generator=generator) for _ in range(5)
    )
    contrast = 0.2 * contrast if guided else torch.zeros_like(contrast)
    scale, spread = signal**0.5, (1 - signal) ** 0.5
    full, latents = Prediction(noise, contrast), scale * image + spread * noise
    error = 0.03 * scale * image - 0.1 * contrast + 0.02 * rest + 0.01
    quantized = Prediction(noise + error, 0.9 * contrast + (0.01 * lost if guided else 0.0))
    return CorrectionStep(9, 20, signal, latents, quantized, full, latents, full, noise)
