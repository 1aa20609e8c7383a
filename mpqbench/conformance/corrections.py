"""What a correction promises: on made-up steps, with guidance and without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from ..contracts import Correction, FittedCorrection, Prediction
from .check import Check, attempt, check_of, expect, own_generators_only, unmodified

IMAGES, SHAPE = 24, (4, 6, 6)
SIGNALS = (2e-5, 0.4, 0.999)  # of the first, a middle and the last of twenty steps
SAME = 1e-4
PROMISE = "every step whose error is small must have a correction"


@dataclass(frozen=True)
class Step:
    """One sampling step of images of which the quantized model loses a part."""

    name: str
    signal: float
    latents: torch.Tensor
    full: Prediction
    quantized: Prediction

    def __str__(self) -> str:
        return self.name

    def rows(self, at: slice) -> tuple[Prediction, torch.Tensor]:
        """What the quantized model predicts of some images, and their latents."""
        own = self.quantized
        return Prediction(own.noise[at], own.contrast[at]), self.latents[at]


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
        for step in sample_steps():
            given = self._corrected(step)
            as_asked = given.shape == step.latents.shape and given.dtype == torch.float32
            expect(
                as_asked, f"{step}: it gives {given.dtype} {tuple(given.shape)}, not the latents'"
            )
            expect(given.isfinite().all(), f"{step}: its noise is not finite")

    def nothing(self) -> None:
        """Where the quantized model predicts what full precision does, nothing changes."""
        for step in sample_steps():
            given = self._call(step, self._fitted(step, step.full), step.full, step.latents)
            change = float((given - step.full.noise).abs().max())
            expect(change <= SAME, f"{step}: without an error it changes the noise by {change:.3g}")

    def single(self) -> None:
        """An image is corrected alike by itself and among others."""
        for step in sample_steps():
            fitted, whole = self._fitted(step, step.quantized), self._corrected(step)
            one = self._call(step, fitted, *step.rows(slice(3, 4)))
            far = float((one[0] - whole[3]).abs().max())
            expect(far <= SAME, f"{step}: image 3 by itself differs by {far:.3g}")

    def cost(self) -> None:
        """``numbers`` and ``macs_per_value`` are whole numbers."""
        for step in sample_steps():
            fitted = self._fitted(step, step.quantized)
            for name in ("numbers", "macs_per_value"):
                value = getattr(fitted, name, None)
                expect(type(value) is int and value >= 0, f"{step}: {name} is {value!r}")

    def same(self) -> None:
        """One step gives one correction; global generators and what it is given are left alone."""
        for step in sample_steps():
            pair = []
            for seed in (1, 2):
                given = {
                    f"{side}.{field.name}": getattr(getattr(step, side), field.name)
                    for side in ("full", "quantized")
                    for field in fields(Prediction)
                }
                with (
                    own_generators_only(step, seed, "draw nothing at random"),
                    unmodified(step, latents=step.latents, **given),
                ):
                    pair.append(self._corrected(step))
            expect(torch.equal(*pair), f"{step}: two fits differ; they must be identical")

    def _corrected(self, step: Step) -> torch.Tensor:
        fitted = self._fitted(step, step.quantized)
        return self._call(step, fitted, step.quantized, step.latents)

    def _call(
        self, step: Step, fitted: FittedCorrection, given: Prediction, latents: torch.Tensor
    ) -> torch.Tensor:
        return attempt(step, "a call", lambda: fitted(given, latents), PROMISE)

    def _fitted(self, step: Step, quantized: Prediction) -> FittedCorrection:
        return attempt(
            step,
            "fit",
            lambda: self.plugin.fit(step.latents, step.signal, step.full, quantized),
            PROMISE,
        )


def sample_steps() -> Iterator[Step]:
    """Each signal with guidance, and one step without."""
    for number, signal in enumerate(SIGNALS):
        yield sample_step(signal, guided=True, seed=number)
    yield sample_step(0.4, guided=False, seed=3)


def sample_step(signal: float, *, guided: bool, seed: int = 0) -> Step:
    """Images of which 3 % are lost, 10 % of the contrast, and noise on top."""
    generator = torch.Generator().manual_seed(seed)
    image, noise, contrast, rest, lost = (
        torch.randn(IMAGES, *SHAPE, generator=generator) for _ in range(5)
    )
    contrast = 0.2 * contrast if guided else torch.zeros_like(contrast)
    scale, spread = signal**0.5, (1 - signal) ** 0.5
    full = Prediction(noise, contrast)
    error = 0.03 * scale * image - 0.1 * contrast + 0.02 * rest + 0.01
    quantized = Prediction(noise + error, 0.9 * contrast + (0.01 * lost if guided else 0.0))
    name = f"a step of signal {signal:g}{'' if guided else ' without guidance'}"
    return Step(name, signal, scale * image + spread * noise, full, quantized)
