"""Scores of several sampling steps: every candidate walks on from where its own step led.

Calibration inputs lie on full precision's way from noise to image, evenly over its steps. From each
of them both models take the next steps of the protocol's sampler, with the same noise where it
draws any, and their latents are compared at the end. Outputs are used as they are, without
guidance: half of the inputs have a class and half the null class, as guidance needs both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core.precision import Precision
from ..dit.chain import Conditions
from ..dit.groups import Group
from ..dit.sampling import image_seed
from ..dit.schedule import Schedule
from ..quant.apply import QuantizedModel
from ..quant.build import GroupQuantizer
from ..quant.ranges import Clock
from .engine import Batch, Distance, Engine, Partial


@dataclass(frozen=True)
class Stepper:
    """The sampler's step for inputs at different positions of ``schedule``, in one call.

    The noise of an input depends on ``seed``, its number and its position, so that all candidates
    and full precision get the same.
    """

    schedule: Schedule
    seed: int

    def positions(self, times: torch.Tensor) -> torch.Tensor:
        """Where times (n,) stand in the schedule, on the CPU."""
        known = {time: at for at, time in enumerate(self.schedule.model_times)}
        return torch.tensor([known[int(time)] for time in times])

    def times(self, positions: torch.Tensor) -> torch.Tensor:
        """Times (n,) that the model is told; behind the last step, that one's."""
        steps = torch.tensor(self.schedule.model_times)
        return steps[positions.clamp(max=len(steps) - 1)]

    def step(
        self,
        output: torch.Tensor,
        latents: torch.Tensor,
        positions: torch.Tensor,
        numbers: torch.Tensor,
    ) -> torch.Tensor:
        """Latents (n, c, h, w) float32 one step later; those behind the last step stay."""
        moved = latents.clone()
        for at in positions.unique().tolist():
            if at == len(self.schedule.model_times):
                continue
            rows = (positions == at).nonzero()[:, 0]
            noise = [self._noise(at, int(number)) for number in numbers[rows]]
            own = rows.to(latents.device)
            moved[own] = self.schedule.step(output[own].float(), at, latents[own], noise)
        return moved

    def _noise(self, position: int, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(image_seed(self.seed, f"rollout/{position}", number))


@dataclass(frozen=True)
class Path:
    """The steps of one batch of n inputs, ``numbers`` (n,) among all.

    For every step ``positions`` has where the inputs stand, (n,); behind the last step of the
    schedule they run along unchanged. ``conditions`` are those of every step but the first, whose
    the batch has. ``targets`` (n, c, h, w) is where full precision ends.
    """

    batch: Batch
    numbers: torch.Tensor
    positions: Sequence[torch.Tensor]
    conditions: Sequence[Conditions]
    targets: torch.Tensor


class RolloutScorer:
    """Scores of candidates after all steps of ``paths``; implements ``problem.Scorer``.

    ``distance`` compares latents as an objective compares outputs. The first step is the engine's,
    shared as it shares; each further one is a whole forward of the candidate, with its layers and
    the environment around them. Nothing is dropped early.
    """

    def __init__(
        self,
        engine: Engine,
        choices: Mapping[str, Sequence[Precision]],
        distance: Distance,
        stepper: Stepper,
        paths: Sequence[Path],
        clock: Clock,
    ) -> None:
        self.engine, self.choices, self.distance = engine, choices, distance
        self.stepper, self.paths, self._clock = stepper, tuple(paths), clock
        self._inputs = sum(len(path.batch) for path in paths)

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """Scores of each group alone in the order of its choices, and the forwards they took."""
        entries = [{group: p} for group, own in self.choices.items() for p in own]
        scores, forwards = self.scores(entries)
        flat = iter(scores)
        table = {g: np.array([next(flat) for _ in own]) for g, own in self.choices.items()}
        return table, forwards

    def table_price(self) -> float:
        """The price of every entry."""
        return sum(self.price({group: p}) for group, own in self.choices.items() for p in own)

    def price(self, allocation: Partial) -> float:
        """One forward for each step."""
        return float(len(self.paths[0].positions))

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """Joint scores (n,), means over all inputs, and the forwards they took."""
        before = self.engine.forwards
        errors = np.concatenate([self._errors(allocations, path) for path in self.paths], axis=1)
        return errors.mean(1), self.engine.forwards - before

    @torch.inference_mode()
    def _errors(self, partials: Sequence[Partial], path: Path) -> np.ndarray:
        """What ``distance`` gives for the inputs of one path: (allocations, n) float64."""
        outputs, which = self._first_outputs(partials, path.batch)
        errors = {}
        for number, partial in dict(zip(which, partials, strict=True)).items():  # those alike, once
            end = self._walk(path, partial, outputs[number])
            errors[number] = self.distance(end[None], path.targets)[0].double().cpu().numpy()
        return np.stack([errors[number] for number in which])

    def _first_outputs(
        self, partials: Sequence[Partial], batch: Batch
    ) -> tuple[list[torch.Tensor], list[int]]:
        """Distinct outputs (n, c, h, w) of the first step, and which of them each partial has.

        The engine is asked for a distance that keeps the outputs and gives their numbers.
        """
        kept: list[torch.Tensor] = []

        def number(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            first = len(kept)
            kept.extend(outputs)
            numbers = torch.arange(first, len(kept), dtype=torch.float64)
            return numbers[:, None].expand(-1, len(targets))

        before, self.engine.distance = self.engine.distance, number
        try:
            found = self.engine.batch_errors(partials, batch)
        finally:
            self.engine.distance = before
        return kept, found[:, 0].astype(int).tolist()

    def _walk(self, path: Path, partial: Partial, output: torch.Tensor) -> torch.Tensor:
        """Final latents (n, c, h, w) of a candidate, from the output of its first step."""
        latents = path.batch.latents.float()
        for step, positions in enumerate(path.positions):
            if step > 0:
                times = self.stepper.times(positions).to(latents.device)
                conditions = path.conditions[step - 1]
                output = self._forward(path.batch, partial, latents, times, conditions)
            latents = self.stepper.step(output, latents, positions, path.numbers)
        return latents

    def _forward(
        self,
        batch: Batch,
        partial: Partial,
        latents: torch.Tensor,
        times: torch.Tensor,
        conditions: Conditions,
    ) -> torch.Tensor:
        """Output (n, channels, h, w) on latents of the candidate's own."""
        chain = self.engine.chain
        self._clock.set(times)
        state = chain.start(latents.to(batch.latents.dtype))
        for at, group in enumerate(self.engine.groups):
            layer = batch.environment[at]
            if group in partial:
                layer = self.engine.cells[group].at(partial[group])
            state = chain.run(at, state, conditions, layer)
        self.engine.forwards += len(state) / self._inputs
        return chain.finish(state, times, batch.classes)


def build_rollout(
    engine: Engine,
    choices: Mapping[str, Sequence[Precision]],
    objective: Any,
    groups: Sequence[Group],
    schedule: Schedule,
    *,
    adaln: Precision,
    seed: int,
) -> RolloutScorer:
    """The scorer of ``objective``, which has ``steps`` and a ``distance``, on an engine's inputs.

    ``adaln`` is as the engine was built with, ``schedule`` that of the protocol's sampler. The
    transformer must be in full precision.
    """
    build = next(iter(engine.cells.values())).build
    stepper = Stepper(schedule, seed)
    paths, first = [], 0
    for batch in engine.batches:
        numbers = torch.arange(first, first + len(batch))
        paths.append(_path(engine, batch, numbers, stepper, objective.steps, groups, adaln, build))
        first += len(batch)
    return RolloutScorer(engine, choices, objective.distance, stepper, paths, build.clock)


@torch.no_grad()
def _path(
    engine: Engine,
    batch: Batch,
    numbers: torch.Tensor,
    stepper: Stepper,
    steps: int,
    groups: Sequence[Group],
    adaln: Precision,
    build: GroupQuantizer,
) -> Path:
    transformer, device = engine.chain.transformer, batch.latents.device
    start, last = stepper.positions(batch.times), len(stepper.schedule.model_times)
    positions = [(start + step).clamp(max=last) for step in range(steps)]
    times = [stepper.times(at).to(device) for at in positions]
    latents, output = batch.latents.float(), batch.targets
    for step, at in enumerate(positions):
        if step > 0:
            given = latents.to(batch.latents.dtype)
            output = transformer(given, times[step], batch.classes).sample
        latents = stepper.step(output, latents, at, numbers)
    conditions = []
    with _adaln_at(transformer, groups, adaln, build):
        for own in times[1:]:
            build.clock.set(own)
            conditions.append(engine.chain.conditions(own, batch.classes))
    return Path(batch, numbers, positions, conditions, latents)


def _adaln_at(
    transformer: Any, groups: Sequence[Group], precision: Precision, build: GroupQuantizer
) -> QuantizedModel:
    """The transformer with its adaLN layers at ``precision`` and no other one changed."""
    layers = {}
    for group in groups:
        if group.searchable or precision.is_full:
            continue
        for layer in build.prepare(transformer, group, precision):
            rounded = None if precision.weight is None else build.rounded(layer)
            layers[layer.path], _ = build.finish(layer, rounded)
    return QuantizedModel(transformer, layers, {}, ())
