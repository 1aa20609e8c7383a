"""Scores of several sampling steps: every candidate goes on from where its own step led.

Calibration inputs lie on the trajectory of full precision, evenly over its steps. From each input
both models take the next steps of the protocol's sampler, with the same noise where the sampler
draws any, and their latents are compared at the end. Outputs are used without guidance: half of the
inputs have a class and half the null class, as guidance needs both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core.precision import Precision
from ..dit.chain import Conditions
from ..dit.sampling import image_seed
from ..dit.schedule import Schedule
from .engine import Batch, Distance, Engine, Partial
from .scoring import EngineScorer


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
        return torch.tensor([known[int(time)] for time in times])

    def times(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the times (n,) that the model is told; behind the last step, the last one."""
        steps = torch.tensor(self.schedule.model_times)
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
            own = rows.to(latents.device)
            moved[own] = self.schedule.step(output[own].float(), at, latents[own], noise)
        return moved

    def _noise(self, position: int, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(image_seed(self.seed, f"rollout/{position}", number))


@dataclass(frozen=True)
class RolloutPath:
    """The steps of one batch of n inputs, ``numbers`` (n,) among all.

    For every step ``positions`` has where the inputs stand, (n,); behind the last step of the
    schedule they run along unchanged. ``conditions`` are those of every step but the first, whose
    conditions the batch has. ``targets`` (n, c, h, w) is where full precision ends.
    """

    batch: Batch
    numbers: torch.Tensor
    positions: Sequence[torch.Tensor]
    conditions: Sequence[Conditions]
    targets: torch.Tensor


@dataclass(frozen=True)
class RolloutScorer(EngineScorer):
    """Scores of candidates after all steps of ``paths``.

    ``distance`` compares latents as an objective compares outputs. The first step is the engine's,
    shared as the engine shares; each further one is a whole forward of the candidate, with its
    layers and the environment. Nothing is dropped early.
    """

    distance: Distance
    stepper: Stepper
    paths: Sequence[RolloutPath]

    def means(self, allocations: Sequence[Partial]) -> np.ndarray:
        errors = np.concatenate([self._errors(allocations, path) for path in self.paths], axis=1)
        return errors.mean(1)

    def price(self, allocation: Partial) -> float:
        """Return one forward for each step."""
        return float(len(self.paths[0].positions))

    @torch.inference_mode()
    def _errors(self, partials: Sequence[Partial], path: RolloutPath) -> np.ndarray:
        """Return the distance of each allocation on the inputs of one path: (allocations, n)."""
        outputs = self.engine.outputs(partials, path.batch)
        keys = [frozenset(partial.items()) for partial in partials]
        errors: dict[frozenset[tuple[str, Precision]], np.ndarray] = {}
        for key, partial, output in zip(keys, partials, outputs, strict=True):
            if key not in errors:  # equal allocations walk once
                end = self._walk(path, partial, output)
                errors[key] = self.distance(end[None], path.targets)[0].double().cpu().numpy()
        return np.stack([errors[key] for key in keys])

    def _walk(self, path: RolloutPath, partial: Partial, output: torch.Tensor) -> torch.Tensor:
        """Return the final latents (n, c, h, w) of a candidate, given its first output."""
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
        """Return the output (n, channels, h, w) on latents of the candidate's own."""
        engine, chain = self.engine, self.engine.chain
        engine.clock.set(times)
        state = chain.start(latents.to(batch.latents.dtype))
        for at, group in enumerate(engine.groups):
            layer = batch.environment[at]
            if group in partial:
                layer = engine.searchable[group].at(partial[group])
            state = chain.run(at, state, conditions, layer)
        engine.forwards += len(state) / sum(len(path.batch) for path in self.paths)
        return chain.finish(state, times, batch.classes)


def build_rollout(
    engine: Engine, choices: Mapping[str, Sequence[Precision]], objective: Any, stepper: Stepper
) -> RolloutScorer:
    """Return the scorer of ``objective``, which has ``steps`` and a ``distance``.

    ``stepper`` has the schedule of the protocol's sampler. The transformer must be in full
    precision.
    """
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
    with engine.quantize_fixed():
        for own in times[1:]:
            engine.clock.set(own)
            conditions.append(engine.chain.conditions(own, batch.classes))
    return RolloutPath(batch, numbers, positions, conditions, latents)
