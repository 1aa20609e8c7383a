"""Distillation data: sampling trajectories of the full-precision model, recorded once.

No data is needed but noise and classes, as for calibration; every trajectory gives many inputs,
each with the output of full precision.
"""

from functools import partial
from typing import Self

import numpy as np
import torch

from ..contracts import Recorded
from ..core.cache import Cache
from ..core.errors import BenchError
from ..dit.calibration import CalibrationSet, evaluate
from ..dit.sampling import Sampler, image_seed

TRAIN, HELD_OUT = "tuning", "tuning-held-out"  # axes: never evaluated noise, nor calibration's
KEPT_STEPS = 25  # of one trajectory: 1 MB an image of DiT-XL/2 at 256 x 256


class Trajectories(Recorded):
    """Recorded rows of sampling trajectories."""

    @property
    def inputs(self) -> CalibrationSet:
        """The inputs without the outputs."""
        return CalibrationSet(self.latents, self.times, self.classes)

    def spans(self, length: int) -> torch.Tensor:
        """Return indices (m, length) of all runs of consecutive steps of one image.

        Raises BenchError where no image has as many rows.
        """
        if length == 1:
            return torch.arange(len(self))[:, None]
        order = torch.from_numpy(np.lexsort((-self.times.numpy(), self.images.numpy())))
        if len(order) >= length:
            runs = order.unfold(0, length, 1)
            runs = runs[self.images[runs[:, 0]] == self.images[runs[:, -1]]]
            if len(runs):
                return runs
        longest = int(self.images.unique(return_counts=True)[1].max())
        raise BenchError(f"span {length} is longer than a recorded trajectory of {longest} steps")

    def minibatch(self, step: int, size: int, seed: int, span: int = 1) -> Self:
        """Return the ``size`` rows of training step ``step`` (from 0): ``size / span`` spans.

        Every epoch has every span once, in another order. The rows depend on the arguments alone:
        training that resumes at a step needs no state of a generator.
        """
        runs, size = self.spans(span), size // span
        total, begin = len(runs), step * size
        chosen: list[torch.Tensor] = []
        for epoch in range(begin // total, (begin + size - 1) // total + 1):
            generator = torch.Generator().manual_seed(image_seed(seed, "tuning-order", epoch))
            first = epoch * total
            part = slice(max(begin - first, 0), max(begin + size - first, 0))
            chosen.append(torch.randperm(total, generator=generator)[part])
        return self.rows(runs[torch.cat(chosen)].flatten())


def record_trajectories(sampler: Sampler, images: int, cache: Cache) -> Trajectories:
    """Return at least ``images`` trajectories, in whole micro-batches.

    ``cache`` belongs to the model, protocol, seed and axis of ``sampler`` and has an entry for each
    micro-batch; the model must be in full precision where one is missing. Each trajectory gives up
    to ``KEPT_STEPS`` inputs, at steps and with or without its class (guidance evaluates the model
    on both) dealt by its own seed. Raises Diverged where a latent is not finite.
    """
    size, parts = sampler.protocol.micro_batch, []
    with cache.reporter.stage(f"recording trajectories: {sampler.axis}", images) as advance:
        for first in range(0, images, size):
            parts.append(cache.get(f"trajectories-{first:06d}", partial(_recorded, sampler, first)))
            advance(min(size, images - first))
    return Trajectories(**{name: torch.cat([p[name] for p in parts]) for name in parts[0]})


def _recorded(sampler: Sampler, first: int) -> dict[str, torch.Tensor]:
    """Record the micro-batch that begins with image ``first``."""
    model, size = sampler.model, sampler.protocol.micro_batch
    unclassed = [_unclassed_steps(sampler, index) for index in range(first, first + size)]
    seen: list[tuple[torch.Tensor, ...]] = []

    def keep(_first: int, position: int, x: torch.Tensor, time: float, y: torch.Tensor) -> None:
        at = [slot for slot, steps in enumerate(unclassed) if position in steps]
        slots = torch.tensor(at, dtype=torch.long)
        null = torch.tensor([unclassed[slot][position] for slot in at], dtype=torch.bool)
        classes = y.cpu()[slots].masked_fill(null, model.classes)
        times = sampler.schedule.times[position].expand(len(slots))
        share = torch.full((len(at),), sampler.schedule.signal(position))
        seen.append((x.float().cpu()[slots], times, classes, first + slots, share))

    for _ in sampler.watch(first, first + size, keep):
        pass
    latents, times, classes, images, shares = (torch.cat(part) for part in zip(*seen, strict=True))
    inputs = CalibrationSet(latents, times, classes)
    outputs = evaluate(model.transformer, inputs, size)
    read = outputs.shape[1] if sampler.schedule.learned_variance else sampler.channels
    outputs = outputs[:, :read].contiguous()
    return vars(Trajectories(latents, times, classes, images, shares, outputs))


def _unclassed_steps(sampler: Sampler, index: int) -> dict[int, bool]:
    """Return the steps of image ``index`` that are kept, and where its class is left out."""
    rng = np.random.default_rng(image_seed(sampler.seed, f"{sampler.axis}-deal", index))
    kept = rng.permutation(sampler.protocol.steps)[:KEPT_STEPS]
    guided = sampler.guidance_passes == 2
    return {int(position): guided and number % 2 == 1 for number, position in enumerate(kept)}
