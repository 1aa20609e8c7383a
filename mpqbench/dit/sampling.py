"""The sampling loop: per-image noise, balanced classes, fixed micro-batches, guidance.

Image i is bit-identical for any number of images, order and worker: it is always number ``i % m``
of micro-batch ``i // m``, and every micro-batch runs at its full size m.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ..contracts import FittedCorrection, Prediction
from ..core.errors import BenchError, Diverged
from ..core.protocol import Protocol
from .architecture import Forward
from .compiling import compiled_forward
from .flow import schedule_of
from .halving import Halving
from .loading import DiTModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Called before every model evaluation with (first index, step position, latents, time, classes).
Observer = Callable[[int, int, torch.Tensor, float, torch.Tensor], None]


@dataclass(frozen=True)
class SampleBatch:
    """Images ``first`` to ``first + n`` of a run.

    images: uint8 (n, H, W, C). latents: final, float32 (n, c, h, w). classes: (n,).
    """

    first: int
    images: np.ndarray
    latents: np.ndarray
    classes: np.ndarray


def image_seed(seed: int, axis: str, index: int) -> int:
    """Return the seed of one image on one axis (``noise``, ``calibration``): 56 bits of SHA-256."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{axis}/{index}".encode()).digest()[:7], "big")


class Sampler:
    """Sample from a model under a protocol; the transformer may be quantized in between.

    Images of different ``axis`` have different noise. ``corrections``, one for every step, change
    the prediction; by default there are none. Raises BenchError as ``build_schedule``.
    """

    corrections: Sequence[FittedCorrection] = ()

    def __init__(
        self, model: DiTModel, protocol: Protocol, seed: int, device: str, axis: str = "noise"
    ) -> None:
        architecture, self.channels = model.architecture, model.latent_shape[0]
        own = architecture.own_guidance(model.transformer.config)
        self.guidance = own if protocol.guidance is None else protocol.guidance
        self.model, self.protocol, self.seed = model, protocol, seed
        self.device, self.axis = device, axis
        model.configure(protocol)
        self.schedule = schedule_of(model, protocol)
        guided = architecture.guided_channels(protocol.convention)
        self._compiled: Forward | None = None
        self.guided = self.channels if guided is None else min(guided, self.channels)
        self._predicting, self._decoding = Halving(device), Halving(device)

    @property
    def notes(self) -> list[str]:
        """What was computed in smaller parts, as memory was short."""
        return list(filter(None, dict.fromkeys((self._predicting.note, self._decoding.note))))

    @property
    def guidance_passes(self) -> int:
        """Model evaluations per step: two with guidance, one without or where it is embedded."""
        embedded = self.model.architecture.embeds_guidance(self.model.transformer)
        return 2 if self.guidance > 1.0 and not embedded else 1

    def batches(
        self, start: int, stop: int, observe: Observer | None = None
    ) -> Iterator[SampleBatch]:
        """Yield images ``start`` to ``stop``; ``start`` must begin a micro-batch.

        The transformer must not change before the last one. Raises BenchError for another ``start``
        and Diverged where a latent is not finite.
        """
        for first, latents, classes in self._paths(start, stop, observe, self._final_forward()):
            keep = slice(min(len(latents), stop - first))
            images, final = self._decode(latents)[keep], latents[keep].float().cpu().numpy()
            yield SampleBatch(first, images, final, classes[keep].cpu().numpy())

    def watch(self, start: int, stop: int, observe: Observer) -> Iterator[int]:
        """Sample and call ``observe``; decode no image, as decoding may take longer than sampling.

        Yields the number of images of each micro-batch; ``start`` and errors as in ``batches``.
        """
        forward = self.model.architecture.repeated(self.model.transformer)
        for first, latents, _ in self._paths(start, stop, observe, forward):
            yield min(len(latents), stop - first)

    def _final_forward(self) -> Forward:
        """Return the forward that makes the images: a compiled one where asked for."""
        architecture, transformer = self.model.architecture, self.model.transformer
        if not self.protocol.compiled:
            return architecture.repeated(transformer)
        if fused := architecture.fused(transformer):
            return fused
        if self._compiled is None:
            self._compiled = compiled_forward(transformer)
        return self._compiled

    def _paths(
        self, start: int, stop: int, observe: Observer | None, forward: Forward
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield first index, final latents and classes of every full micro-batch."""
        size = self.protocol.micro_batch
        if start % size:
            raise BenchError(f"sampling must start at a multiple of {size}, not {start}")
        for first in range(start, stop, size):
            yield (first, *self._denoise(first, observe, forward))

    @torch.inference_mode()
    def _denoise(
        self, first: int, observe: Observer | None, forward: Forward
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return final latents and classes of one full micro-batch."""
        latents, classes, generators = self.begin(first)
        for position, time in enumerate(self.schedule.model_times):
            if observe is not None:
                observe(first, position, latents, time, classes)
            prediction, variance = self.predict(latents, time, classes, forward)
            noise = prediction.noise
            if self.corrections:
                noise = self.corrections[position](prediction, latents)
            output = torch.cat([noise, variance], dim=1)
            latents = self.schedule.step(output, position, latents, generators)
        for index, image in enumerate(latents, first):
            if not image.isfinite().all():
                steps = self.protocol.steps
                raise Diverged(f"the latent of image {index} is not finite after {steps} steps")
        return latents, classes

    def begin(self, first: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Generator]]:
        """Return noise (n, c, h, w), classes (n,) and generators of a micro-batch."""
        indices = range(first, first + self.protocol.micro_batch)
        generators = [
            torch.Generator().manual_seed(image_seed(self.seed, self.axis, i)) for i in indices
        ]
        shape = self.model.latent_shape
        latents = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(self.device)
        classes = torch.tensor([i % self.model.classes for i in indices], device=self.device)
        return latents, classes, generators

    def predict(
        self,
        latents: torch.Tensor,
        time: float,
        classes: torch.Tensor,
        forward: Forward | None = None,
    ) -> tuple[Prediction, torch.Tensor]:
        """Return the guided prediction (arXiv 2207.12598) and the model's other channels, float32.

        The other channels (n, channels, h, w) are the learned variance, if any, from the forward
        with the class. A micro-batch that does not fit into memory is computed in halves.
        ``forward`` may take the place of the model's own.
        """
        given = partial(self._predict, time, forward or self.model.forward)
        noise, contrast, rest = self._predicting(given, latents, classes)
        return Prediction(noise, contrast), rest

    def _predict(
        self, time: float, forward: Forward, latents: torch.Tensor, classes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the noise, the contrast of the guidance and the other channels."""
        dtype = DTYPES[self.protocol.dtype]
        double = self.guidance_passes == 2
        if double:
            null = torch.full_like(classes, self.model.classes)
            latents, classes = torch.cat([latents, latents]), torch.cat([classes, null])
        times = torch.full((len(latents),), time, device=self.device)
        output = forward(latents.to(dtype), times, classes).float()
        c, g = self.channels, self.guided
        if not double:
            return output[:, :c], torch.zeros_like(output[:, :c]), output[:, c:]
        with_class, without = output.chunk(2)
        guided = without[:, :g] + self.guidance * (with_class[:, :g] - without[:, :g])
        noise = torch.cat([guided, with_class[:, g:c]], dim=1)
        return noise, with_class[:, :c] - without[:, :c], with_class[:, c:]

    @torch.inference_mode()
    def _decode(self, latents: torch.Tensor) -> np.ndarray:
        """Decode uint8 images (n, H, W, C), rounded as by the diffusers pipeline."""
        (pixels,) = self._decoding(lambda x: (self.model.decode(x),), latents)
        pixels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()
