"""Distillation: the student's outputs towards full precision's, on trajectories of the latter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..contracts import Recorded
from ..core.errors import BenchError
from ..quant.trainable import GRID_PARAMETERS, ParametrizedLayer, branch_sources
from .loop import Rated, TrainingCurve, train
from .settings import Training
from .student import DistillationData, QuantizedStudent
from .weighting import balanced, min_snr, uniform


def distil(
    training: Training, student: QuantizedStudent, lessons: DistillationData, trained: Rated
) -> TrainingCurve:
    """Train ``trained``, parameters of the student by name with their rates.

    An error is the difference, times the root of its weight, in the output channels that the
    sampler reads. The loss is the mean square of the sum of ``span`` consecutive ones, divided by
    ``span``, on minibatches of the training set; judged on all held-out trajectories. Raises
    Diverged where either is not finite, BenchError where trajectories are shorter than ``span``.
    """
    device, transformer = lessons.device, student.transformer
    half = training.autocast and torch.device(device).type == "cuda"
    weigh = _weighting(training, student, lessons)

    def loss_at(step: int) -> torch.Tensor:
        batch = lessons.train.minibatch(step, training.batch, lessons.seed, training.span)
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            errors = _errors(transformer, batch, device)
        return summed(weighted(errors, weigh(batch).to(device)), training.span).mean()

    def held_out_loss() -> float:
        errors = _all_errors(transformer, lessons.held_out, training.batch, device)
        errors = weighted(errors, weigh(lessons.held_out))
        parts = runs.split(training.batch)
        return float(torch.cat([summed(errors[p.flatten()], training.span) for p in parts]).mean())

    runs = lessons.held_out.spans(training.span)
    with student.training_mode(training.checkpointing):
        return train(
            training, trained, loss_at, held_out_loss, lessons.checkpoint, lessons.reporter
        )


def _weighting(
    training: Training, student: QuantizedStudent, lessons: DistillationData
) -> Callable[[Recorded], torch.Tensor]:
    """Weights (n,) of rows. A function of the untuned student: the same when training resumes."""
    if training.weighting == "min-snr":
        return min_snr(lessons.train)
    if training.weighting == "uniform":
        return uniform
    rows = lessons.held_out
    errors = _all_errors(student.transformer, rows, training.batch, lessons.device)
    return balanced(rows, errors.square().flatten(1).mean(1))


def weighted(errors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Errors (n, c, h, w) whose squares count as ``weights`` (n,) say."""
    return errors * weights.sqrt()[:, None, None, None]


def summed(errors: torch.Tensor, span: int) -> torch.Tensor:
    """Mean squares (n / span,), in double precision, of sums of ``span`` errors, over ``span``."""
    sums = errors.unflatten(0, (-1, span)).sum(1)
    return sums.double().square().flatten(1).mean(1) / span


def _errors(transformer: Any, rows: Recorded, device: str) -> torch.Tensor:
    """Differences (n, channels, h, w) of the student's outputs from ``rows.outputs``, float32."""
    dtype = next(transformer.parameters()).dtype
    output = transformer(
        rows.latents.to(device, dtype), rows.times.to(device), rows.classes.to(device)
    ).sample
    return output[:, : rows.outputs.shape[1]].float() - rows.outputs.to(device)


@torch.no_grad()
def _all_errors(transformer: Any, rows: Recorded, batch: int, device: str) -> torch.Tensor:
    """The same of many rows, on the CPU."""
    parts = (rows.rows(slice(at, at + batch)) for at in range(0, len(rows), batch))
    return torch.cat([_errors(transformer, part, device).cpu() for part in parts])


def retrain(
    training: Training,
    student: QuantizedStudent,
    lessons: DistillationData,
    sources: Mapping[str, Mapping[str, Any]],
    branches: Mapping[str, Any],
    rate: float,
    grid_rate: float,
) -> TrainingCurve:
    """Train parts of the student's layers and put what came out back into them for good.

    ``sources`` are by layer path and then by ``weight`` or ``bias``, ``branches`` by path.
    ``grid_rate`` is the rate of scales and zero points, ``rate`` that of everything else. Raises
    Diverged where a loss is not finite, and BenchError where there is nothing to train.
    """
    parts: dict[str, tuple[nn.Module, Mapping[str, Any]]] = {
        path: (student.layers[path], own) for path, own in sources.items() if own
    }
    for path, branch in branches.items():
        for number, part in enumerate(branch_sources(branch)):
            parts[f"{path}.branch.{number}"] = part
    trained: dict[str, tuple[nn.Parameter, float]] = {}
    with ExitStack() as stack:
        for place, (module, own) in parts.items():
            stack.enter_context(ParametrizedLayer(module, own))
            for source in own:
                for name, parameter in own[source].named_parameters():
                    if parameter.requires_grad:
                        own_rate = grid_rate if name in GRID_PARAMETERS else rate
                        trained[f"{place}.{source}.{name}"] = (parameter, own_rate)
        if not trained:
            raise BenchError("the tuner has nothing to train: no layer has any of what it trains")
        checkpoint = lessons.checkpoint.of(_digest(parts))
        curve = distil(training, student, replace(lessons, checkpoint=checkpoint), trained)
    for path, own in sources.items():
        if "weight" in own:
            student.set_quantized_weight(path, own["weight"].rounded())
    return curve


def _digest(parts: Mapping[str, tuple[nn.Module, Mapping[str, Any]]]) -> str:
    """Of what training begins with. It trains changes of numbers that are computed anew when it
    resumes: on another processor they may differ, and changes of others mean nothing there.
    """
    total = hashlib.sha256()
    for place, (_, own) in parts.items():
        for source, module in own.items():
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                total.update(f"{place}.{source}.{name}{tuple(tensor.shape)}".encode())
                content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
                total.update(content.numpy())
    return total.hexdigest()
