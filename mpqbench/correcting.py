"""The correction stage of a job: one for every sampling step, each fitted behind those before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .contracts import Correction, CorrectionStep, FittedCorrection, Prediction
from .cost import Operator
from .errors import BenchError
from .models.loading import DiTModel
from .models.sampling import Sampler
from .models.schedule import Schedule
from .progress import Reporter
from .quant.apply import QuantizedModel
from .recipe import Job
from .resources import Resources

AXIS = "correction"  # of the noise: never evaluated, nor calibration's


def correct(
    job: Job, model: DiTModel, quantized: QuantizedModel, resources: Resources, reporter: Reporter
) -> Sequence[FittedCorrection]:
    """The corrections of all sampling steps, none where the recipe asks for none.

    What they cost is noted in ``quantized``. Raises Diverged, and BenchError where the plugin
    breaks its contract.
    """
    plugin = resources.registry.create("correction", job.recipe.correction)
    if job.budget.is_unbounded or not plugin.images:
        return ()
    sampler = Sampler(model, job.protocol, job.seed, job.device, axis=AXIS)
    title = f"correcting {job.recipe.name} {job.budget}"
    with reporter.stage(title, job.protocol.steps) as advance:
        fitted = []
        for correction in _steps(plugin, sampler, quantized):
            fitted.append(correction)
            advance(1)
    quantized.operators += (_operator(fitted, model),)
    return fitted


@torch.inference_mode()
def _steps(
    plugin: Correction, sampler: Sampler, quantized: QuantizedModel
) -> Iterator[FittedCorrection]:
    """The corrections one by one; latents go on as corrected, beside full precision's own way."""
    schedule, size = sampler.schedule, sampler.protocol.micro_batch
    own = [_Way(*sampler.begin(first)) for first in range(0, plugin.images, size)]
    path = [_Way(*sampler.begin(first)) for first in range(0, plugin.images, size)]
    for position, time in enumerate(schedule.model_times):
        given = [sampler.predict(way.latents, time, way.classes) for way in own]
        with quantized.lifted():
            full = [sampler.predict(way.latents, time, way.classes) for way in own]
            ahead = [sampler.predict(way.latents, time, way.classes) for way in path]
        before, kept = _latents(path), [way.state() for way in own]
        for way, (prediction, rest) in zip(path, ahead, strict=True):
            way.go(schedule, position, prediction.noise, rest)
        for way, (prediction, rest) in zip(own, given, strict=True):
            way.go(schedule, position, prediction.noise, rest)
        slope = schedule.slope(position, sampler.channels)
        missed = (_latents(path) - _latents(own)) / slope
        for way, state in zip(own, kept, strict=True):
            way.restore(state)
        prediction = _joined(given)
        correction = plugin.fit(
            CorrectionStep(
                position,
                len(schedule.model_times),
                schedule.signal(position),
                _latents(own),
                prediction,
                _joined(full),
                before,
                _joined(ahead),
                prediction.noise + missed,
            )
        )
        for way, (prediction, rest) in zip(own, given, strict=True):
            noise = _checked(correction(prediction, way.latents), way.latents)
            way.go(schedule, position, noise, rest)
        yield correction


@dataclass
class _Way:
    """The images of one micro-batch on their way; image i draws from ``generators[i]`` alone."""

    latents: torch.Tensor
    classes: torch.Tensor
    generators: list[torch.Generator]

    def go(
        self, schedule: Schedule, position: int, noise: torch.Tensor, rest: torch.Tensor
    ) -> None:
        """One step on, with what was predicted behind the noise too."""
        output = torch.cat([noise, rest], dim=1)
        self.latents = schedule.step(output, position, self.latents, self.generators)

    def state(self) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What ``restore`` comes back to."""
        return self.latents, [generator.get_state() for generator in self.generators]

    def restore(self, state: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
        """Latents and generators as they were."""
        self.latents = state[0]
        for generator, own in zip(self.generators, state[1], strict=True):
            generator.set_state(own)


def _latents(ways: Sequence[_Way]) -> torch.Tensor:
    return torch.cat([way.latents for way in ways])


def _joined(parts: Sequence[tuple[Prediction, torch.Tensor]]) -> Prediction:
    predictions = [prediction for prediction, _ in parts]
    return Prediction(
        torch.cat([each.noise for each in predictions]),
        torch.cat([each.contrast for each in predictions]),
    )


def _checked(noise: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    if noise.shape != latents.shape or noise.dtype != latents.dtype:
        raise BenchError(
            f"a correction gave {noise.dtype} {tuple(noise.shape)} for latents "
            f"{latents.dtype} {tuple(latents.shape)}"
        )
    return noise


def _operator(corrections: Sequence[FittedCorrection], model: DiTModel) -> Operator:
    """All of them, in floating point; a forward is charged for the step that it is half of."""
    macs = max(each.macs_per_value for each in corrections) * math.prod(model.latent_shape)
    numbers = sum(each.numbers for each in corrections)
    return Operator("correction", "correction", macs, weights=numbers)
