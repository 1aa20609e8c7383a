"""Calibration inputs, recorded from the full-precision model's own sampling.

Data-free: only noise and classes are needed, as Q-DiT and PTQ4DiT do on DiT.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..core.errors import BenchError
from ..core.progress import Advance
from ..core.recipe import Protocol
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
    begins = deal.permutation(count) * protocol.steps // count
    null = deal.permutation(count) % 2 == 1
    return _record(Sampler(model, protocol, seed, device, axis=axis), begins, 1, null, advance)


def record_spans(
    model: DiTModel,
    protocol: Protocol,
    seed: int,
    device: str,
    span: int,
    advance: Advance = lambda _images: None,
    axis: str = "calibration-spans",
) -> CalibrationSet:
    """Runs of ``span`` consecutive steps of one image, as many as ``protocol.calibration`` holds.

    Image i gives the i-th run, all of it with its class or all of it with the null class. Runs
    begin at as few places as cover all steps, in equal shares. Raises BenchError where there are
    fewer steps, or fewer calibration inputs, than ``span``.
    """
    for what, most in (("sampling steps", protocol.steps), ("inputs", protocol.calibration)):
        if span > most:
            raise BenchError(f"span {span} is longer than the {most} {what} of the protocol")
    count, places = protocol.calibration // span, math.ceil(protocol.steps / span)
    deal = np.random.default_rng(image_seed(seed, f"{axis}-deal", 0))
    starts = np.linspace(0, protocol.steps - span, places).round().astype(int)
    begins = starts[deal.permutation(count) % places]
    null = deal.permutation(count) % 2 == 1
    return _record(Sampler(model, protocol, seed, device, axis=axis), begins, span, null, advance)


def _record(
    sampler: Sampler, begins: np.ndarray, span: int, null: np.ndarray, advance: Advance
) -> CalibrationSet:
    """Of image i the ``span`` inputs from step ``begins[i]`` on, with its class unless ``null``."""
    count = len(begins)
    latents: list[torch.Tensor] = [torch.empty(0)] * (count * span)
    times = torch.zeros(count * span, dtype=torch.long)
    classes = torch.zeros(count * span, dtype=torch.long)

    def keep(first: int, position: int, x: torch.Tensor, time: int, y: torch.Tensor) -> None:
        for slot in range(min(len(x), count - first)):
            index, step = first + slot, position - int(begins[first + slot])
            if 0 <= step < span:
                row = index * span + step
                latents[row] = x[slot].float().cpu()
                times[row] = time
                classes[row] = sampler.model.classes if null[index] else y[slot]

    for images in sampler.watch(0, count, keep):
        advance(images)
    return CalibrationSet(torch.stack(latents), times, classes)
