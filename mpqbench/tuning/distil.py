"""Distillation: the student's outputs towards full precision's, on trajectories of the latter."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from ..errors import BenchError
from ..models.held_out import HeldOut
from ..quant.trainable import GRID_PARAMETERS, Remade, branch_sources
from .loop import Curve, Rated, train
from .settings import Training
from .student import Lessons, Student


def distil(training: Training, student: Student, lessons: Lessons, trained: Rated) -> Curve:
    """Train ``trained``, parameters of the student by name with their rates.

    The loss is the mean over inputs of their weight times the mean squared difference of all output
    channels, weights divided by their mean over the training set; judged on held-out trajectories
    by the plain mean squared difference. Raises Diverged where either is not finite.
    """
    device, transformer = lessons.device, student.transformer
    dtype = next(transformer.parameters()).dtype
    weights = training.weights(lessons.train.signal)
    scale = 1 / float(weights.double().mean())
    half = training.autocast and torch.device(device).type == "cuda"
    held = HeldOut(lessons.held_out.inputs, lessons.held_out.outputs)

    def loss_at(step: int) -> torch.Tensor:
        batch = lessons.train.minibatch(step, training.batch, lessons.seed)
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            output = transformer(
                batch.latents.to(device, dtype), batch.times.to(device), batch.classes.to(device)
            ).sample
        errors = (output.float() - batch.outputs.to(device)).square().flatten(1).mean(1)
        return (errors * training.weights(batch.signal).to(device)).mean() * scale

    def held_out_loss() -> float:
        return held.mse(transformer, training.batch, device)

    with student.school(training.checkpointing):
        return train(
            training, trained, loss_at, held_out_loss, lessons.checkpoint, lessons.reporter
        )


def retrain(
    training: Training,
    student: Student,
    lessons: Lessons,
    sources: Mapping[str, Mapping[str, Any]],
    branches: Mapping[str, Any],
    rate: float,
    grid_rate: float,
) -> Curve:
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
            stack.enter_context(Remade(module, own))
            for source in own:
                for name, parameter in own[source].named_parameters():
                    if parameter.requires_grad:
                        own_rate = grid_rate if name in GRID_PARAMETERS else rate
                        trained[f"{place}.{source}.{name}"] = (parameter, own_rate)
        if not trained:
            raise BenchError("the tuner has nothing to train: no layer has any of what it trains")
        curve = distil(training, student, lessons, trained)
    for path, own in sources.items():
        if "weight" in own:
            student.settle(path, own["weight"].rounded())
    return curve
