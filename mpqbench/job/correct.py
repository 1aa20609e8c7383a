"""The correction stage of a job: one for every sampling step, each fitted behind those before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..contracts import Correction, CorrectionStep, FittedCorrection, Prediction
from ..core.errors import BenchError
from ..core.progress import Reporter
from ..core.recipe import Job
from ..cost.count import Operator
from ..dit.loading import DiTModel
from ..dit.sampling import Sampler
from ..dit.schedule import Schedule
from ..quant.apply import QuantizedModel
from .resources import Resources

AXIS = "correction"  # of the noise: never evaluated, nor calibration's

_Predicted = tuple[Prediction, torch.Tensor]  # as Sampler.predict gives it


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
    schedule, firsts = sampler.schedule, range(0, plugin.images, sampler.protocol.micro_batch)
    own, path = ([_Way(*sampler.begin(first)) for first in firsts] for _ in range(2))
    for position, time in enumerate(schedule.model_times):
        given = _predicted(sampler, own, time)
        with quantized.lifted():
            full, ahead = _predicted(sampler, own, time), _predicted(sampler, path, time)
        before = _latents(path)
        for way, (prediction, rest) in zip(path, ahead, strict=True):
            way.go(schedule, position, prediction.noise, rest)
        step = CorrectionStep(
            position,
            len(schedule.model_times),
            schedule.signal(position),
            _latents(own),
            _joined(given),
            _joined(full),
            before,
            _joined(ahead),
            _leading(schedule, position, own, given, _latents(path)),
        )
        correction = plugin.fit(step)
        for way, (prediction, rest) in zip(own, given, strict=True):
            noise = _checked(correction(prediction, way.latents), way.latents)
            way.go(schedule, position, noise, rest)
        yield correction


def _leading(
    schedule: Schedule,
    position: int,
    ways: Sequence[_Way],
    given: Sequence[_Predicted],
    goal: torch.Tensor,
) -> torch.Tensor:
    """The noise (n, c, h, w) that would take ``ways`` to ``goal`` in a step, which is linear in it.

    The ways themselves stay where they are.
    """
    ends = []
    for way, (prediction, rest) in zip(ways, given, strict=True):
        state = way.state()
        way.go(schedule, position, prediction.noise, rest)
        ends.append(way.latents)
        way.restore(state)
    noise = _joined(given).noise
    return noise + (goal - torch.cat(ends)) / schedule.slope(position, noise.shape[1])


def _predicted(sampler: Sampler, ways: Sequence[_Way], time: int) -> list[_Predicted]:
    """What the model, as it is now, predicts of each micro-batch."""
    return [sampler.predict(way.latents, time, way.classes) for way in ways]


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


def _joined(parts: Sequence[_Predicted]) -> Prediction:
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
