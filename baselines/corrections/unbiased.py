"""What quantization takes from a prediction systematically, given back by least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field, PositiveInt

from mpqbench.contracts import Correction, plugin
from mpqbench.core.errors import Diverged

if TYPE_CHECKING:
    from mpqbench.contracts import CorrectionStep, FittedCorrection, Prediction

TOLD = 0.1  # the most that the standard error of a factor may be
LEAST = 0.5  # that may be left of what is made whole again: nothing is more than doubled


@plugin
class Unbiased(Correction):
    """Makes the predicted noise right on average, given what full precision would have predicted.

    The error is taken apart as PTQD does (arXiv 2305.10657): a part that follows the prediction,
    its mean, and the rest, which stays. PTQD's first part is a multiple of the predicted noise.
    Ours is a sum of three, by least squares for every channel and band of spatial frequencies:

        quantized - full = a image + b noise + c contrast + rest,

    with the clean image that full precision predicts and its contrast between class and no class;
    the mean of the rest is one number for each place. ``a > 0`` takes structure out of images,
    ``c < 0`` weakens the guidance, and a squared error sees neither. The image follows from latent
    and noise, the contrast from the quantized one, whose own loss is estimated likewise, so that
    the sampler can solve for the noise. The error is fitted to the truth and not the truth to what
    is known, whose noise would pull every estimate towards the mean.

    Latents that have drifted all the same are led back to full precision's own way within the share
    ``horizon`` of all steps, one step at least: what that takes, on average and as a multiple of
    the image there, is added. The last step, where noise hardly moves a latent any more, and a
    horizon of 0 lead nothing back. In a latent that is nearly all noise a multiple of the image is
    next to nothing, and solving for it would blow its standard error up: where that comes to more
    than a tenth of the noise, there is none. Noise and contrast are at most doubled.

    ``images`` is how many it is fitted on; ``bands`` divide the sum of both frequencies of a cosine
    transform into equal parts.
    """

    images: PositiveInt = 100
    bands: PositiveInt = 5
    horizon: Annotated[float, Field(ge=0, le=1)] = 0.05

    def fit(self, step: CorrectionStep) -> FittedCorrection:
        """Raises Diverged where the error is not finite."""
        waves = DCTBands(step.latents, self.bands)
        seen = _Seen.of(step, waves, self._lead(step))
        if not (seen.error.isfinite().all() and seen.fading.isfinite().all()):
            raise Diverged("the error of a step is not finite")
        offset = torch.zeros_like(seen.error[0])
        factors = torch.stack([offset] * 3)
        for channel in range(len(offset)):
            for band in waves.bands:
                at = (slice(None), channel, band)
                factors[at], offset[channel, band] = seen.at(at).solved(step.signal)
        return Linear(waves, factors.float(), offset.float())

    def _lead(self, step: CorrectionStep) -> float:
        """How much of its drift a latent is led back in this step."""
        if self.horizon == 0 or step.position == step.steps - 1:
            return 0.0
        return 1 / max(1, self.horizon * step.steps)


@dataclass(frozen=True)
class _Seen:
    """What a step shows, as coefficients (n, ...).

    ``image``, ``noise`` and ``contrast`` are full precision's, ``error`` and ``fading`` what the
    quantized model adds to noise and contrast. ``astray`` is the noise that leads drift back, whose
    mean and multiple of ``ahead``, the image on full precision's own way, is wanted.
    """

    image: torch.Tensor
    noise: torch.Tensor
    contrast: torch.Tensor
    error: torch.Tensor
    fading: torch.Tensor
    ahead: torch.Tensor
    astray: torch.Tensor

    @classmethod
    def of(cls, step: CorrectionStep, waves: DCTBands, lead: float) -> _Seen:
        """All of ``step``, of whose drift the share ``lead`` is led back."""
        scale, ratio = _scale(step.signal)
        truth, found = step.full, step.quantized
        noise, contrast = waves.of(truth.noise), waves.of(truth.contrast)
        return cls(
            waves.of(step.latents) / scale - ratio * noise,
            noise,
            contrast,
            waves.of(found.noise) - noise,
            waves.of(found.contrast) - contrast,
            waves.of(step.path) / scale - ratio * waves.of(step.path_full.noise),
            waves.of(lead * (step.wanted - truth.noise)),
        )

    def at(self, place: tuple[Any, ...]) -> _Seen:
        """One channel and band: (n, frequencies) each."""
        return _Seen(*(getattr(self, field.name)[place] for field in fields(self)))

    def solved(self, signal: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors of noise, latent and contrast (3, 1), and the offset (frequencies,)."""
        scale, ratio = _scale(signal)
        parts = [self.image, self.noise, self.contrast]
        (a, b, c), (doubt, _, _) = _least_squares(parts, self.error)
        (lead,), (more,) = _least_squares([self.ahead], self.astray)
        (lost,), _ = _least_squares([self.contrast], self.fading)
        if ratio * math.hypot(doubt, more) > TOLD:
            a, lead = 0.0, 0.0
            (b, c), _ = _least_squares(parts[1:], self.error)
        own, left = max(1 + b, LEAST), max(1 + lost, LEAST)
        strong = max(1.0, ratio * (a - lead) / (own - LEAST)) if own > LEAST else math.inf
        a, lead = a / strong, lead / strong
        kept = own - (a - lead) * ratio
        factors = torch.tensor([1, (lead - a) / scale, -c / left]) / kept
        explained = sum(w * part.mean(0) for w, part in zip((a, b, c), parts, strict=True))
        rest = (self.error - self.astray).mean(0) - explained + lead * self.ahead.mean(0)
        return factors.to(rest)[:, None], -rest / kept


def _scale(signal: float) -> tuple[float, float]:
    """The part of the image in a latent, and how much of the noise there is to one of it."""
    return math.sqrt(signal), math.sqrt((1 - signal) / signal)


def _least_squares(
    parts: list[torch.Tensor], error: torch.Tensor
) -> tuple[list[float], list[float]]:
    """Coefficients of parts (n, frequencies) in an error, all less their means over images.

    Behind them their standard errors. Of parts that say the same the shortest solution is taken.
    """
    table = torch.stack([(each - each.mean(0)).flatten().cpu() for each in [*parts, error]], dim=1)
    known, wanted = table[:, :-1], table[:, -1]
    inverse = torch.linalg.pinv(known.T @ known, hermitian=True)
    found = inverse @ (known.T @ wanted)
    variance = (wanted - known @ found).square().mean()
    return found.tolist(), (variance * inverse.diagonal()).sqrt().tolist()


class DCTBands:
    """Latents as coefficients of the orthonormal cosine transform (DCT-II) of each channel.

    ``bands`` (h, w) bool, one for each, cover every coefficient once.
    """

    def __init__(self, like: torch.Tensor, bands: int) -> None:
        height, width = like.shape[-2:]
        self.rows, self.columns = (_cosines(n).to(like.device) for n in (height, width))
        total = torch.arange(height)[:, None] + torch.arange(width)
        number = (total * bands // (height + width - 1)).to(like.device)
        self.bands = [number == band for band in number.unique()]

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Coefficients (..., h, w) of values (..., h, w), in float64."""
        return self.rows @ values.double() @ self.columns.T

    def back(self, coefficients: torch.Tensor) -> torch.Tensor:
        """The inverse of ``of``."""
        return self.rows.T @ coefficients @ self.columns


def _cosines(length: int) -> torch.Tensor:
    places = (torch.arange(length, dtype=torch.float64) + 0.5) * math.pi / length
    waves = torch.cos(torch.arange(length)[:, None] * places) * math.sqrt(2 / length)
    waves[0] /= math.sqrt(2)
    return waves


class Linear:
    """Noise, latent and contrast, each times a factor for each channel and band, and an offset.

    ``factors`` (3, c, h, w) and ``offset`` (c, h, w) are of coefficients.
    """

    def __init__(self, waves: DCTBands, factors: torch.Tensor, offset: torch.Tensor) -> None:
        self._waves, self._factors, self._offset = waves, factors, offset
        channels, height, width = offset.shape
        self.numbers = 3 * channels * len(waves.bands) + offset.numel()
        self.macs_per_value = 4 * (height + width) + 3  # three transforms, and one back

    def __call__(self, prediction: Prediction, latents: torch.Tensor) -> torch.Tensor:
        """The corrected noise (n, c, h, w)."""
        parts = (prediction.noise, latents, prediction.contrast)
        terms = (f * self._waves.of(part) for f, part in zip(self._factors, parts, strict=True))
        return self._waves.back(sum(terms, self._offset.double())).to(latents.dtype)
