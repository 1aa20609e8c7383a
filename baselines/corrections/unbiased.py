"""Corrects the systematic part of the error of a prediction, fitted by least squares."""

import math
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, PositiveInt

from mpqbench.contracts import (
    Correction,
    CorrectionSize,
    CorrectionStep,
    FittedCorrection,
    Mixture,
    Operations,
    Prediction,
    plugin,
)
from mpqbench.core.errors import Diverged

MOST_DOUBT = 0.1  # the largest standard error of a factor that is used
LEAST = 0.5  # the least remaining share that is scaled up again: nothing is more than doubled


@plugin
class Unbiased(Correction):
    """Makes the predicted noise right on average over images of one step.

    Like PTQD (arXiv 2305.10657), it splits the error into a part that depends linearly on known
    quantities, a mean, and a rest that stays. PTQD's linear part is a multiple of the predicted
    noise. Here it is a sum of three terms, fitted by least squares for every channel and band of
    spatial frequencies:

        quantized - full = a image + b noise + c contrast + rest,

    with the clean image, the noise and the contrast between condition and none that full precision
    predicts;
    the mean of the rest is one number for each place. ``a > 0`` removes structure from images and
    ``c < 0`` weakens guidance, and a squared error sees neither. The correction solves for full
    precision's prediction, which is the noise or a velocity: image and noise follow from the latent
    and the prediction, the contrast from the quantized contrast, whose loss is estimated in the
    same way. The error is regressed on full precision's quantities, because noise in the regressors
    would pull every estimate towards zero.

    Latents that have drifted nevertheless are returned to the path of full precision within the
    share ``horizon`` of all steps, at least one: the noise that this takes, on average and as a
    multiple of the image there, is added. The last step and a horizon of 0 return nothing. In a
    latent that is nearly all noise, the term of the image is left out where its standard error
    comes to more than a tenth of the noise. Noise and contrast are at most doubled.

    ``images`` is how many images the fit uses; ``bands`` divide the sum of both frequencies of a
    cosine transform into equal parts.
    """

    images: PositiveInt = 100
    bands: PositiveInt = 5
    horizon: Annotated[float, Field(ge=0, le=1)] = 0.05

    def size(self, shape: tuple[int, int, int]) -> CorrectionSize:
        """Return the cost of four cosine transforms, three factors and sums for each number."""
        channels, height, width = shape
        values, bands = channels * height * width, min(self.bands, height + width - 1)
        operations = Operations(values * (4 * (height + width) + 3), 3 * values)
        return CorrectionSize(3 * channels * bands + values, operations)

    def fit(self, step: CorrectionStep) -> FittedCorrection:
        """Fit the correction of a step. Raises Diverged where the error is not finite."""
        waves = DCTBands(step.latents, self.bands)
        terms = self._terms(step, waves)
        if not (terms.error.isfinite().all() and terms.fading.isfinite().all()):
            raise Diverged("the error of a step is not finite")
        offset = torch.zeros_like(terms.error[0])
        factors = torch.stack([offset] * 3)
        for channel in range(len(offset)):
            for band in waves.bands:
                at = (slice(None), channel, band)
                place = _StepTerms(*(term[at] for term in terms))  # (n, frequencies) each
                factors[at], offset[channel, band] = place.solved(step.mixture)
        return Linear(waves, factors.float(), offset.float())

    def pack(self, fitted: FittedCorrection) -> Mapping[str, torch.Tensor]:
        """Return factors and offset."""
        assert isinstance(fitted, Linear)
        return {"factors": fitted.factors, "offset": fitted.offset}

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> "Linear":
        """Return the correction of these factors and this offset."""
        return Linear(DCTBands(parts["offset"], self.bands), parts["factors"], parts["offset"])

    def _terms(self, step: CorrectionStep, waves: "DCTBands") -> "_StepTerms":
        is_last = step.position == step.steps - 1
        removed = 1 / max(1, self.horizon * step.steps) if self.horizon and not is_last else 0.0
        predicted, contrast = waves.of(step.full.noise), waves.of(step.full.contrast)
        latents, path = waves.of(step.latents), waves.of(step.path)
        (by_latent, by_prediction), (noise_latent, noise_prediction) = step.mixture
        return _StepTerms(
            image=by_latent * latents + by_prediction * predicted,
            noise=noise_latent * latents + noise_prediction * predicted,
            contrast=contrast,
            error=waves.of(step.quantized.noise) - predicted,
            fading=waves.of(step.quantized.contrast) - contrast,
            ahead=by_latent * path + by_prediction * waves.of(step.path_full.noise),
            astray=waves.of(removed * (step.wanted - step.full.noise)),
        )


class _StepTerms(NamedTuple):
    """The quantities of a step, as coefficients (n, ...).

    ``image``, ``noise`` and ``contrast`` are full precision's; ``error`` and ``fading`` are what
    the quantized model adds to noise and contrast. ``astray`` is the noise that removes the drift,
    approximated by a mean and a multiple of ``ahead``, the image on the path of full precision.
    """

    image: torch.Tensor
    noise: torch.Tensor
    contrast: torch.Tensor
    error: torch.Tensor
    fading: torch.Tensor
    ahead: torch.Tensor
    astray: torch.Tensor

    def solved(self, mixture: Mixture) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve for factors of prediction, latent and contrast (3, 1), offset (frequencies,)."""
        (by_latent, by_prediction), (noise_latent, noise_prediction) = mixture
        ratio = -by_prediction
        parts = [self.image, self.noise, self.contrast]
        (a, b, c), (doubt, _, _) = _least_squares(parts, self.error)
        (lead,), (more,) = _least_squares([self.ahead], self.astray)
        (lost,), _ = _least_squares([self.contrast], self.fading)
        if ratio * math.hypot(doubt, more) > MOST_DOUBT:
            a, lead = 0.0, 0.0
            (b, c), _ = _least_squares(parts[1:], self.error)
        noise, contrast = max(1 + b * noise_prediction, LEAST), max(1 + lost, LEAST)
        strong = max(1.0, ratio * (a - lead) / (noise - LEAST)) if noise > LEAST else math.inf
        a, lead = a / strong, lead / strong
        kept = noise - (a - lead) * ratio
        latent = (lead - a) * by_latent - b * noise_latent
        factors = torch.tensor([1, latent, -c / contrast]) / kept
        explained = sum(w * part.mean(0) for w, part in zip((a, b, c), parts, strict=True))
        rest = (self.error - self.astray).mean(0) - explained + lead * self.ahead.mean(0)
        return factors.to(rest)[:, None], -rest / kept


def _least_squares(
    parts: list[torch.Tensor], error: torch.Tensor
) -> tuple[list[float], list[float]]:
    """Fit an error by parts (n, frequencies), all less their means over images.

    Returns coefficients and their standard errors; for collinear parts the shortest solution.
    """
    table = torch.stack([(each - each.mean(0)).flatten().cpu() for each in [*parts, error]], dim=1)
    known, wanted = table[:, :-1], table[:, -1]
    inverse = torch.linalg.pinv(known.T @ known, hermitian=True)
    found = inverse @ (known.T @ wanted)
    variance = (wanted - known @ found).square().mean()
    return found.tolist(), (variance * inverse.diagonal()).sqrt().tolist()


class DCTBands:
    """The orthonormal cosine transform (DCT-II) of each channel, divided into bands.

    ``bands`` (h, w) bool, one for each, cover every coefficient once.
    """

    def __init__(self, like: torch.Tensor, bands: int) -> None:
        height, width = like.shape[-2:]
        self.rows, self.columns = (_cosines(n).to(like.device) for n in (height, width))
        total = torch.arange(height)[:, None] + torch.arange(width)
        number = (total * bands // (height + width - 1)).to(like.device)
        self.bands = [number == band for band in number.unique()]

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Return coefficients (..., h, w) float64 of values (..., h, w)."""
        return self.rows @ values.double() @ self.columns.T

    def back(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return values from coefficients: the inverse of ``of``."""
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
        self._waves, self.factors, self.offset = waves, factors, offset

    def __call__(self, prediction: Prediction, latents: torch.Tensor) -> torch.Tensor:
        """Return the corrected noise (n, c, h, w)."""
        parts = (prediction.noise, latents, prediction.contrast)
        terms = (f * self._waves.of(part) for f, part in zip(self.factors, parts, strict=True))
        return self._waves.back(sum(terms, self.offset.double())).to(latents.dtype)
