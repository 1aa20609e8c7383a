"""Contracts of corrections, which change the prediction inside the sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from .base import Plugin
from .layers import NO_OPERATIONS, Operations

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prediction:
    """What a model predicts in one sampling step, (n, c, h, w) float32 each.

    ``noise`` is the guided prediction that the sampler reads: the noise, or with flow matching the
    velocity, which is the noise less the clean image. ``contrast`` is the prediction with the
    condition less the one without, zero where there is no guidance.
    """

    noise: torch.Tensor
    contrast: torch.Tensor


class Mixture(NamedTuple):
    """How clean image and noise follow from a latent and a prediction of full precision.

    Each pair has the factor of the latent, then that of the prediction.
    """

    image: tuple[float, float]
    noise: tuple[float, float]


@dataclass(frozen=True)
class CorrectionStep:
    """One sampling step of some images, as the quantized model and full precision take it.

    ``latents`` (n, c, h, w) float32 is where the corrected steps before have led the quantized
    model, ``quantized`` and ``full`` what the two models predict there; ``path`` is where full
    precision has led from the same noise, ``path_full`` what it predicts there. ``wanted`` (n, c,
    h, w) is the prediction that would take ``latents`` back onto that path in this one step.
    ``mixture`` says what a prediction tells of the image and of the noise in a latent.
    """

    position: int
    steps: int
    mixture: Mixture
    latents: torch.Tensor
    quantized: Prediction
    full: Prediction
    path: torch.Tensor
    path_full: Prediction
    wanted: torch.Tensor


@dataclass(frozen=True)
class CorrectionSize:
    """What the correction of one sampling step stores, and executes for one image.

    ``numbers`` are the stored values, 16 bits each.
    """

    numbers: int = 0
    operations: Operations = NO_OPERATIONS


class FittedCorrection(Protocol):
    """The correction of one sampling step."""

    def __call__(self, prediction: Prediction, latents: torch.Tensor) -> torch.Tensor:
        """Return the corrected noise (n, c, h, w) float32 for latents (n, c, h, w) float32."""


class Correction(Plugin, ABC):
    """Changes the sampler's prediction by the same rule for all images, step by step.

    ``images`` is how many images a correction is fitted on; with 0 there is no correction. Steps
    are fitted in their order, on noise that nothing else uses, and every image of a step is
    corrected by itself.
    """

    kind: ClassVar[str] = "correction"
    images: int = 0

    def size(self, shape: tuple[int, int, int]) -> CorrectionSize:
        """Return what a step costs for latents of ``shape`` (c, h, w); nothing by default."""
        return CorrectionSize()

    @abstractmethod
    def fit(self, step: CorrectionStep) -> FittedCorrection:
        """Fit the correction of ``step``."""

    def pack(self, fitted: FittedCorrection) -> Mapping[str, torch.Tensor] | None:
        """Return the tensors that ``unpack`` makes a fitted correction from.

        They are kept in the cache, so that no correction is fitted again where a job is resumed or
        shared; ``None``, the default, where a correction cannot be kept.
        """
        return None

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> FittedCorrection:
        """Return the correction, the same bit for bit, whose ``pack`` is ``parts``.

        A plugin that overrides ``pack`` overrides this method too, as the conformance
        suite checks.
        """
        raise NotImplementedError(f"{type(self).__name__} has a pack and no unpack")
