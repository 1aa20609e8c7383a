"""Scores of several sampling steps: every candidate goes on from where its own step led.

From each calibration input, on the trajectory of full precision, both models take the next steps of
the protocol's sampler, with the same noise where the sampler draws any, and their latents are
compared at the end. Outputs are used without guidance: half of the inputs have the null class.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..core.precision import Precision
from ..dit.architectures import architecture_of
from ..dit.chain import Conditions
from ..dit.sampling import image_seed
from ..dit.schedule import Schedule
from .engine import Batch, Distance, Engine, Partial
from .problem import Scorer


@dataclass(frozen=True)
class RolloutPath:
    """The steps of one batch of n inputs, ``numbers`` (n,) among all.

    For every step ``positions`` has where the inputs stand, (n,), and ``times`` what the model is
    told; behind the last step of the schedule they run along unchanged. ``conditions`` are those of
    every step but the first, whose conditions the batch has. ``targets`` (n, c, h, w) is where full
    precision ends.
    """

    batch: Batch
    numbers: torch.Tensor
    positions: Sequence[torch.Tensor]
    times: Sequence[torch.Tensor]
    conditions: Sequence[Conditions]
    targets: torch.Tensor


@dataclass(frozen=True)
class Stepper:
    """The step of the sampler for inputs at different positions of ``schedule``, in one call.

    The noise of an input depends on ``seed``, its number and its position, so that all candidates
    and full precision get the same.
    """

    schedule: Schedule
    seed: int

    def positions(self, times: torch.Tensor) -> torch.Tensor:
        """Return where times (n,) stand in the schedule, on the CPU."""
        known = {time: at for at, time in enumerate(self.schedule.model_times)}
        return torch.tensor([known[time] for time in times.tolist()])

    def times(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the times (n,) that the model is told; behind the last step, the last one."""
        steps = self.schedule.times
        return steps[positions.clamp(max=len(steps) - 1)]

    def step(
        self,
        output: torch.Tensor,
        latents: torch.Tensor,
        positions: torch.Tensor,
        numbers: torch.Tensor,
    ) -> torch.Tensor:
        """Return latents (n, c, h, w) float32 one step later; behind the last step they stay."""
        moved = latents.clone()
        for at in positions.unique().tolist():
            if at == len(self.schedule.model_times):
                continue
            rows = (positions == at).nonzero()[:, 0]
            noise = [self._noise(at, int(number)) for number in numbers[rows]]
            there = rows.to(latents.device)
            moved[there] = self.schedule.step(output[there].float(), at, latents[there], noise)
        return moved

    def walk(
        self,
        path: RolloutPath,
        output: torch.Tensor,
        forward: Callable[[int, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Return the final latents (n, c, h, w); ``forward`` makes the output of a later step."""
        latents = path.batch.latents.float()
        for step, positions in enumerate(path.positions):
            if step > 0:
                output = forward(step, latents)
            latents = self.step(output, latents, positions, path.numbers)
        return latents

    def _noise(self, position: int, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(image_seed(self.seed, f"rollout/{position}", number))


@dataclass(frozen=True)
class RolloutScorer(Scorer):
    """Scores of candidates after all steps of ``paths``, means over all calibration inputs.

    ``distance`` compares latents as an objective compares outputs. The first step is the engine's,
    shared as the engine shares; each further one is a whole forward of the candidate, with its
    layers and the environment. Nothing is dropped early.
    """

    engine: Engine
    choices: Mapping[str, Sequence[Precision]]
    distance: Distance
    stepper: Stepper
    paths: Sequence[RolloutPath]

    def price(self, allocation: Partial) -> float:
        """Return one forward for each step."""
        return float(len(self.paths[0].positions))

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        self.engine.forwards = 0.0  # as JointScorer
        errors = np.concatenate([self._errors(allocations, path) for path in self.paths], axis=1)
        return errors.mean(1), self.engine.forwards

    @torch.inference_mode()
    def _errors(self, partials: Sequence[Partial], path: RolloutPath) -> np.ndarray:
        """Return the distance of each allocation on the inputs of one path: (allocations, n)."""
        outputs = self.engine.outputs(partials, path.batch)
        keys = [frozenset(candidate.items()) for candidate in partials]
        errors: dict[frozenset[tuple[str, Precision]], np.ndarray] = {}
        for key, output in zip(keys, outputs, strict=True):
            if key not in errors:  # equal allocations walk once
                forward = partial(self._forward, path, dict(key))
                end = self.stepper.walk(path, output, forward)
                errors[key] = self.distance(end[None], path.targets)[0].double().cpu().numpy()
        return np.stack([errors[key] for key in keys])

    def _forward(
        self, path: RolloutPath, candidate: Partial, step: int, latents: torch.Tensor
    ) -> torch.Tensor:
        """Return the output (n, channels, h, w) on latents of the candidate's own."""
        engine, chain, batch = self.engine, self.engine.chain, path.batch
        conditions = path.conditions[step - 1]
        engine.clock.set(path.times[step])
        state = chain.start(latents.to(batch.latents.dtype), conditions)
        for at, group in enumerate(engine.groups):
            layer = batch.environment[at]
            if group in candidate:
                layer = engine.searchable[group].at(candidate[group])
            state = chain.run(at, state, conditions, layer)
        engine.forwards += len(state) / sum(len(path.batch) for path in self.paths)
        return chain.finish(state, conditions)


def build_rollout(
    engine: Engine, choices: Mapping[str, Sequence[Precision]], objective: Any, stepper: Stepper
) -> RolloutScorer:
    """Return the scorer of ``objective``; the transformer must be in full precision."""
    paths, first = [], 0
    for batch in engine.batches:
        numbers = torch.arange(first, first + len(batch))
        paths.append(_path(engine, batch, numbers, stepper, objective.steps))
        first += len(batch)
    return RolloutScorer(engine, choices, objective.distance, stepper, paths)


@torch.no_grad()
def _path(
    engine: Engine, batch: Batch, numbers: torch.Tensor, stepper: Stepper, steps: int
) -> RolloutPath:
    transformer, device = engine.chain.transformer, batch.latents.device
    architecture = architecture_of(transformer)
    start, last = stepper.positions(batch.times), len(stepper.schedule.model_times)
    positions = [(start + step).clamp(max=last) for step in range(steps)]
    times = [stepper.times(at).to(device) for at in positions]
    conditions: list[Conditions] = []
    path = RolloutPath(batch, numbers, positions, times, conditions, batch.targets)

    def forward(step: int, latents: torch.Tensor) -> torch.Tensor:
        given = latents.to(batch.latents.dtype), times[step], batch.classes
        return architecture.forward(transformer, *given)

    path = replace(path, targets=stepper.walk(path, batch.targets, forward))
    with engine.quantize_fixed():
        for later in times[1:]:
            engine.clock.set(later)
            conditions.append(engine.chain.conditions(batch.latents, later, batch.classes))
    return path
