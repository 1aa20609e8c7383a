"""The correction stage of a job: one for every sampling step, each fitted behind those before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .contracts import FittedCorrection, Prediction
from .cost import Operator
from .errors import BenchError
from .models.loading import DiTModel
from .models.sampling import Sampler
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
def _steps(plugin: Any, sampler: Sampler, quantized: QuantizedModel):  # type: ignore[no-untyped-def]
    """The corrections one by one, while their images go on to the next step."""
    schedule, size = sampler.schedule, sampler.protocol.micro_batch
    parts = [sampler.begin(first) for first in range(0, plugin.images, size)]
    for position, time in enumerate(schedule.model_times):
        given = [(latents, time, classes) for latents, classes, _ in parts]
        own = [sampler.predict(*each) for each in given]
        with quantized.lifted():
            full = [sampler.predict(*each)[0] for each in given]
        signal = float(schedule.scheduler.alphas_cumprod[schedule.own_times[position]])
        correction = plugin.fit(
            torch.cat([each[0] for each in given]),
            signal,
            _joined(full),
            _joined([prediction for prediction, _ in own]),
        )
        for number, ((latents, classes, generators), (prediction, rest)) in enumerate(
            zip(parts, own, strict=True)
        ):
            noise = correction(prediction, latents)
            if noise.shape != latents.shape or noise.dtype != latents.dtype:
                raise BenchError(
                    f"a correction gave {noise.dtype} {tuple(noise.shape)} for latents "
                    f"{latents.dtype} {tuple(latents.shape)}"
                )
            output = torch.cat([noise, rest], dim=1)
            moved = schedule.step(output, position, latents, generators)
            parts[number] = (moved, classes, generators)
        yield correction


def _joined(parts: Sequence[Prediction]) -> Prediction:
    return Prediction(
        torch.cat([part.noise for part in parts]), torch.cat([part.contrast for part in parts])
    )


def _operator(corrections: Sequence[FittedCorrection], model: DiTModel) -> Operator:
    """All of them, in floating point; a forward is charged for the step that it is half of."""
    values = 1
    for length in model.latent_shape:
        values *= length
    macs = max(each.macs_per_value for each in corrections) * values
    numbers = sum(each.numbers for each in corrections)
    return Operator("correction", "correction", macs, weights=numbers)
