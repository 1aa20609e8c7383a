"""Calibration inputs, recorded from the full-precision model's own sampling.

Data-free: only noise and classes are needed, as Q-DiT and PTQ4DiT do on DiT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..progress import Advance
from ..recipe import Protocol
from .loading import DiTModel
from .sampling import Sampler, image_seed


@dataclass(frozen=True)
class CalibrationSet:
    """Inputs of the transformer: latents (n, c, h, w) float32, times (n,), classes (n,)."""

    latents: torch.Tensor
    times: torch.Tensor
    classes: torch.Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Consecutive parts of at most ``size`` inputs."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.latents[part], self.times[part], self.classes[part]


def record_calibration(
    model: DiTModel,
    protocol: Protocol,
    seed: int,
    device: str,
    advance: Advance = lambda _images: None,
    axis: str = "calibration",
) -> CalibrationSet:
    """``protocol.calibration`` inputs, spread evenly over steps and classes.

    Image i gives its latent at one step and, because guidance evaluates the model on both, either
    its class or the null class. Steps and nulls are dealt by seeded permutations: equal shares,
    and no class is tied to a part of the trajectory. The noise is on an ``axis`` of its own, so no
    calibration image is ever an evaluated one, nor one of another axis.
    """
    count = protocol.calibration
    deal = np.random.default_rng(image_seed(seed, f"{axis}-deal", 0))
    positions = deal.permutation(count) * protocol.steps // count
    null = deal.permutation(count) % 2 == 1
    latents: list[torch.Tensor] = [torch.empty(0)] * count
    times = torch.zeros(count, dtype=torch.long)
    classes = torch.zeros(count, dtype=torch.long)

    def keep(first: int, position: int, x: torch.Tensor, time: int, y: torch.Tensor) -> None:
        for slot in range(min(len(x), count - first)):
            index = first + slot
            if positions[index] == position:
                latents[index] = x[slot].float().cpu()
                times[index] = time
                classes[index] = model.classes if null[index] else y[slot]

    sampler = Sampler(model, protocol, seed, device, axis=axis)
    for batch in sampler.batches(0, count, observe=keep):
        advance(len(batch.images))
    return CalibrationSet(torch.stack(latents), times, classes)
