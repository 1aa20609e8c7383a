"""Distillation: train a student towards the outputs of full precision on its trajectories."""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ..contracts import DistillationData, Recorded
from ..core.errors import BenchError
from ..dit.architectures import architecture_of
from ..quant.trainable import QPARAM_NAMES, ParametrizedLayer, branch_sources
from .loop import Losses, Rated, TrainingCurve, train
from .settings import Training
from .student import QuantizedStudent
from .weighting import Weighting, balanced, min_snr, uniform

_Parts = dict[str, tuple[nn.Module, Mapping[str, Any]]]  # a module and its sources, by place


def distil(
    training: Training, student: QuantizedStudent, data: DistillationData, trained: Rated
) -> TrainingCurve:
    """Train ``trained``, parameters of the student by name with their learning rates.

    An error is the difference in the output channels that the sampler reads, times the root of its
    weight. The loss is the mean square of the sum of ``span`` consecutive errors, divided by
    ``span``: on minibatches in training, on all held-out trajectories in an evaluation. Raises
    Diverged where a loss is not finite, BenchError where trajectories are shorter than ``span``.
    """
    device, transformer, span = data.device, student.transformer, training.span
    half = training.autocast and torch.device(device).type == "cuda"
    weigh = _weighting(training, student, data)

    def loss_at(step: int) -> torch.Tensor:
        batch = data.train.minibatch(step, training.batch, data.seed, span)
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            errors = _errors(transformer, batch, device)
        return summed(weighted(errors, weigh(batch).to(device)), span).mean()

    def held_out_loss() -> float:
        errors = _all_errors(transformer, data.held_out, training.batch, device)
        errors = weighted(errors, weigh(data.held_out))
        parts = runs.split(training.batch)
        return float(torch.cat([summed(errors[part.flatten()], span) for part in parts]).mean())

    runs = data.held_out.spans(span)
    with student.training_mode(training.checkpointing):
        losses = Losses(loss_at, held_out_loss)
        return train(training, trained, losses, data.checkpoint, data.reporter)


def _weighting(training: Training, student: QuantizedStudent, data: DistillationData) -> Weighting:
    """Return the weights, which depend on the untuned student alone."""
    if training.weighting == "min-snr":
        return min_snr(data.train)
    if training.weighting == "uniform":
        return uniform
    rows = data.held_out
    errors = _all_errors(student.transformer, rows, training.batch, data.device)
    return balanced(rows, errors.square().flatten(1).mean(1))


def weighted(errors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return errors (n, c, h, w) whose squares are multiplied by ``weights`` (n,)."""
    return errors * weights.sqrt()[:, None, None, None]


def summed(errors: torch.Tensor, span: int) -> torch.Tensor:
    """Return mean squares (n / span,) float64 of sums of ``span`` errors, divided by ``span``."""
    sums = errors.unflatten(0, (-1, span)).sum(1)
    return sums.double().square().flatten(1).mean(1) / span


def _errors(transformer: Any, rows: Recorded, device: str) -> torch.Tensor:
    """Return the student's outputs less ``rows.outputs``: (n, channels, h, w) float32."""
    latents = rows.latents.to(device, next(transformer.parameters()).dtype)
    given = rows.times.to(device), rows.classes.to(device)
    output = architecture_of(transformer).forward(transformer, latents, *given)
    return output[:, : rows.outputs.shape[1]].float() - rows.outputs.to(device)


@torch.no_grad()
def _all_errors(transformer: Any, rows: Recorded, batch: int, device: str) -> torch.Tensor:
    """Return the errors of all rows, ``batch`` at a time, on the CPU."""
    parts = (rows.rows(slice(at, at + batch)) for at in range(0, len(rows), batch))
    return torch.cat([_errors(transformer, part, device).cpu() for part in parts])


@dataclass(frozen=True)
class TrainedParts:
    """The parts of a student's layers that a tuner trains.

    ``sources`` are by layer path and then by ``weight`` or ``bias``, ``branches`` by path.
    ``scale_rate`` is the learning rate of scales and zero points, ``rate`` that of everything else.
    """

    rate: float
    scale_rate: float
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    branches: dict[str, Any] = field(default_factory=dict)


def retrain(
    training: Training, student: QuantizedStudent, data: DistillationData, to_train: TrainedParts
) -> TrainingCurve:
    """Train ``to_train`` and put the result back into the student's layers for good.

    Raises Diverged where a loss is not finite, and BenchError where there is nothing to train.
    """
    layers, given = student.layers, to_train.sources.items()
    parts: _Parts = {path: (layers[path], sources) for path, sources in given if sources}
    for path, branch in to_train.branches.items():
        for number, part in enumerate(branch_sources(branch)):
            parts[f"{path}.branch.{number}"] = part
    with ExitStack() as stack:
        for module, sources in parts.values():
            stack.enter_context(ParametrizedLayer(module, sources))
        rates = dict.fromkeys(QPARAM_NAMES, to_train.scale_rate)
        trained = {
            f"{place}.{source}.{name}": (parameter, rates.get(name, to_train.rate))
            for place, (_, sources) in parts.items()
            for source, made in sources.items()
            for name, parameter in made.named_parameters()
            if parameter.requires_grad
        }
        if not trained:
            raise BenchError("the tuner has nothing to train: no layer has any of what it trains")
        checkpoint = data.checkpoint.of(_digest(parts))
        curve = distil(training, student, replace(data, checkpoint=checkpoint), trained)
    for path, sources in given:
        if "weight" in sources:
            student.set_quantized_weight(path, sources["weight"].rounded())
    return curve


def _digest(parts: _Parts) -> str:
    """Return a digest of what training begins with.

    Training changes numbers that are computed anew when it resumes. On another processor the
    numbers may differ, and the stored changes then mean nothing.
    """
    total = hashlib.sha256()
    for place, (_, sources) in parts.items():
        for source, module in sources.items():
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                total.update(f"{place}.{source}.{name}{tuple(tensor.shape)}".encode())
                content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
                total.update(content.numpy())
    return total.hexdigest()
