"""The correction stage: a correction for every sampling step, fitted one after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ..contracts import Correction, CorrectionStep, FittedCorrection, Prediction
from ..core.errors import BenchError
from ..dit.sampling import Sampler
from ..dit.schedule import Schedule
from ..quant.apply import QuantizedModel
from ..quant.planned import correction_operator
from ..quant.verify import expect_correction
from .context import JobContext
from .fingerprints import samples_fingerprint

AXIS = "correction"  # of the noise: neither that of evaluated images nor of calibration

_Predicted = tuple[Prediction, torch.Tensor]  # as Sampler.predict gives it


@dataclass
class _MicroBatch:
    """A micro-batch of images while it is sampled; image i draws from ``generators[i]``."""

    latents: torch.Tensor
    classes: torch.Tensor
    generators: list[torch.Generator]

    def advance(
        self, schedule: Schedule, position: int, noise: torch.Tensor, rest: torch.Tensor
    ) -> None:
        """Take one step; ``rest`` are the predicted channels behind the noise."""
        output = torch.cat([noise, rest], dim=1)
        self.latents = schedule.step(output, position, self.latents, self.generators)


def correct(
    context: JobContext, quantized: QuantizedModel, *, fresh: bool = False, kept: bool = False
) -> Sequence[FittedCorrection]:
    """Return the corrections of all sampling steps, none where the recipe asks for none.

    They are kept in the cache, where the plugin packs them, and read from there unless ``fresh``.
    Their cost is added to ``quantized``. Raises Diverged, and BenchError where the plugin breaks
    its contract and, with ``kept``, where the cache lacks them.
    """
    plugin = context.plugins.correction
    if not plugin.images:
        return ()
    cache = context.resources.cache.at("corrections")
    name, steps = samples_fingerprint(context.job, context.resources), context.job.protocol.steps
    parts = None if fresh else (cache.require(name) if kept else cache.read(name))
    if parts is None:
        fitted = _fitted(context, quantized)
        packed = [plugin.pack(correction) for correction in fitted]
        if None not in packed:
            cache.write(name, packed)
    else:
        device = context.resources.device
        moved = [{key: part.to(device) for key, part in each.items()} for each in parts]
        fitted = [plugin.unpack(each) for each in moved]
    operator = correction_operator(plugin, context.model.latent_shape, steps)
    assert operator is not None  # of a plugin that asks for images
    quantized.operators += (operator,)
    return fitted


def is_kept(context: JobContext) -> bool:
    """Return whether the cache has all corrections that the recipe asks for."""
    cache = context.resources.cache.at("corrections")
    wanted = context.plugins.correction.images > 0
    return not wanted or cache.holds(samples_fingerprint(context.job, context.resources))


def _fitted(context: JobContext, quantized: QuantizedModel) -> list[FittedCorrection]:
    plugin, sampler = context.plugins.correction, context.recordings.sampler_of(AXIS)
    fitted, steps = [], context.job.protocol.steps
    with context.reporter.stage(f"correcting {context.title}", steps) as advance:
        for correction in fit_steps(plugin, sampler, quantized):
            fitted.append(correction)
            advance(1)
    return fitted


@torch.inference_mode()
def fit_steps(
    plugin: Correction, sampler: Sampler, quantized: QuantizedModel
) -> Iterator[FittedCorrection]:
    """Yield the correction of every step.

    Two sets of images begin with the same noise: one is sampled by the quantized model with the
    corrections fitted so far, the other by full precision.
    """
    schedule, firsts = sampler.schedule, range(0, plugin.images, sampler.protocol.micro_batch)
    corrected, full = ([_MicroBatch(*sampler.begin(f)) for f in firsts] for _ in range(2))
    for position, time in enumerate(schedule.model_times):
        given = _predicted(sampler, corrected, time)
        with quantized.lifted():
            wanted = _predicted(sampler, corrected, time)
            ahead = _predicted(sampler, full, time)
        path = _latents(full)
        for batch, (prediction, rest) in zip(full, ahead, strict=True):
            batch.advance(schedule, position, prediction.noise, rest)
        step = CorrectionStep(
            position,
            len(schedule.model_times),
            schedule.mixture(position),
            _latents(corrected),
            _joined(given),
            _joined(wanted),
            path,
            _joined(ahead),
            _noise_towards(_latents(full), schedule, position, corrected, given),
        )
        correction = plugin.fit(step)
        if position == 0:
            size, latents = plugin.size(sampler.model.latent_shape), _latents(corrected)
            expect_correction(correction, size, _joined(given), latents)
        for batch, (prediction, rest) in zip(corrected, given, strict=True):
            noise, latents = correction(prediction, batch.latents), batch.latents
            if noise.shape != latents.shape or noise.dtype != latents.dtype:
                raise BenchError(
                    f"a correction gave {noise.dtype} {tuple(noise.shape)} for latents "
                    f"{latents.dtype} {tuple(latents.shape)}"
                )
            batch.advance(schedule, position, noise, rest)
        yield correction


def _noise_towards(
    goal: torch.Tensor,
    schedule: Schedule,
    position: int,
    batches: Sequence[_MicroBatch],
    given: Sequence[_Predicted],
) -> torch.Tensor:
    """Return the noise that takes ``batches``, left unchanged, to ``goal``: linear in one step."""
    ends = [replace(b, generators=[g.clone_state() for g in b.generators]) for b in batches]
    for batch, (prediction, rest) in zip(ends, given, strict=True):
        batch.advance(schedule, position, prediction.noise, rest)
    noise = _joined(given).noise
    return noise + (goal - _latents(ends)) / schedule.slope(position, noise.shape[1])


def _predicted(sampler: Sampler, batches: Sequence[_MicroBatch], time: float) -> list[_Predicted]:
    """Return the predictions of the model, as it is now, for each micro-batch."""
    return [sampler.predict(batch.latents, time, batch.classes) for batch in batches]


def _latents(batches: Sequence[_MicroBatch]) -> torch.Tensor:
    return torch.cat([batch.latents for batch in batches])


def _joined(parts: Sequence[_Predicted]) -> Prediction:
    noise = torch.cat([prediction.noise for prediction, _ in parts])
    return Prediction(noise, torch.cat([prediction.contrast for prediction, _ in parts]))
