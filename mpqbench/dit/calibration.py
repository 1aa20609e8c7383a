"""Calibration inputs, recorded while the full-precision model samples.

No data is needed but noise and classes, as for Q-DiT and PTQ4DiT on DiT.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ..core.errors import BenchError, Diverged
from ..core.progress import Advance
from .architectures import architecture_of
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
        """Yield consecutive parts of at most ``size`` inputs."""
        parts = (part.split(size) for part in (self.latents, self.times, self.classes))
        return zip(*parts, strict=True)


def record_calibration(sampler: Sampler, advance: Advance = lambda _images: None) -> CalibrationSet:
    """Record ``protocol.calibration`` inputs, spread evenly over steps and classes.

    Image i gives its latent at one step and, because guidance evaluates the model on both, either
    its class or the null class, where there is one. Steps and null classes are assigned by seeded
    permutations, in equal shares, so that no class belongs to one part of the trajectory. The axis
    of ``sampler`` must not be that of evaluated images.
    """
    count, steps = sampler.protocol.calibration, sampler.protocol.steps
    rng = _generator(sampler)
    return _record(sampler, rng.permutation(count) * steps // count, 1, rng, advance)


def record_spans(sampler: Sampler, span: int) -> CalibrationSet:
    """Record ``span`` consecutive steps of as many images as ``protocol.calibration`` allows.

    Image i gives the i-th run of steps, all with its class or, where there is one, all with the
    null class. Runs begin
    at as few steps as cover the trajectory, in equal shares. Raises BenchError where there are
    fewer steps, or fewer calibration inputs, than ``span``.
    """
    protocol = sampler.protocol
    for what, most in (("sampling steps", protocol.steps), ("inputs", protocol.calibration)):
        if span > most:
            raise BenchError(f"span {span} is longer than the {most} {what} of the protocol")
    count, places = protocol.calibration // span, math.ceil(protocol.steps / span)
    rng = _generator(sampler)
    starts = np.linspace(0, protocol.steps - span, places).round().astype(int)
    begins = starts[rng.permutation(count) % places]
    return _record(sampler, begins, span, rng, lambda _images: None)


def _generator(sampler: Sampler) -> np.random.Generator:
    return np.random.default_rng(image_seed(sampler.seed, f"{sampler.axis}-deal", 0))


def _record(
    sampler: Sampler, begins: np.ndarray, span: int, rng: np.random.Generator, advance: Advance
) -> CalibrationSet:
    """Record ``span`` inputs of image i from step ``begins[i]`` on, half with the null class."""
    count = len(begins)
    null = rng.permutation(count) % 2 == 1
    null &= sampler.model.architecture.null_condition
    latents: list[torch.Tensor] = [torch.empty(0)] * (count * span)
    times = sampler.schedule.times.new_zeros(count * span)
    classes = torch.zeros(count * span, dtype=torch.long)

    def keep(first: int, position: int, x: torch.Tensor, time: float, y: torch.Tensor) -> None:
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


@dataclass(frozen=True)
class HeldOut:
    """Inputs of the transformer and ``outputs`` (n, channels, h, w) float32 of full precision."""

    inputs: CalibrationSet
    outputs: torch.Tensor

    def mse(self, transformer: Any, batch: int) -> torch.Tensor:
        """Return mean squared errors (channels,) of the outputs of ``transformer``, float64.

        The first channels are the predicted noise, the others the variance where it is learned.
        Raises Diverged where an output is not finite.
        """
        outputs = evaluate(transformer, self.inputs, batch)
        errors = (outputs.double() - self.outputs.double()).square().mean((0, 2, 3))
        if not errors.isfinite().all():
            raise Diverged("the output of the transformer on held-out inputs is not finite")
        return errors


@torch.no_grad()
def evaluate(transformer: Any, inputs: CalibrationSet, batch: int) -> torch.Tensor:
    """Return outputs (n, channels, h, w) float32 on the CPU, ``batch`` inputs at a time."""
    first = next(transformer.parameters())
    forward = partial(architecture_of(transformer).forward, transformer)
    parts = [
        forward(x.to(first), times.to(first.device), classes.to(first.device))
        for x, times, classes in inputs.batches(batch)
    ]
    return torch.cat([part.float().cpu() for part in parts])
