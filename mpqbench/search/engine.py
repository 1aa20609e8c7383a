"""Joint scores of many allocations at once: shared prefixes, shared left halves, batched rest.

A partial allocation covers some groups; the others are in the environment. Everything before the
first covered stage is the same for all candidates and is cached. From there on candidates with the
same precisions so far are one candidate; behind the last covered stage several of them go through
the environment together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch

from ..core.errors import Exhausted
from ..core.precision import Precision
from ..dit.chain import STAGES, Chain, Conditions, Layer, State
from ..quant.ranges import Clock
from .cells import Cell

Partial = Mapping[str, Precision]
Token = Precision | None  # at one stage; None: the environment
Tokens = tuple[Token, ...]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

PREFIX_BYTES = 2**30  # of all batches; above, only the prefixes before whole blocks are kept


@dataclass
class Batch:
    """Calibration inputs that go through together, and what is known of them.

    ``targets`` (n, channels, h, w) is full precision's output; ``environment`` has the layer of
    every group outside a candidate, and ``prefixes`` are its states before a stage.
    """

    latents: torch.Tensor
    times: torch.Tensor
    classes: torch.Tensor
    conditions: Conditions
    targets: torch.Tensor
    environment: Sequence[Layer]
    prefixes: dict[int, State] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.latents)


class Engine:
    """Scores of partial allocations on calibration inputs.

    ``work`` (stages,) is what each stage costs, in any unit: ``forwards`` counts what was run in
    forwards of all inputs. ``rows`` is how many inputs go through the environment behind the
    candidates in one piece, at least one batch. ``distance`` makes scores (candidates, inputs) of
    outputs (candidates, inputs, c, h, w) and targets (inputs, c, h, w); mean squared error unless
    an objective has its own. ``clock`` is told the time steps of what runs, where grids follow
    them.

    Memory, beside the weights: prefixes (``PREFIX_BYTES``, or one state for each block and batch
    where that is more), one batch's state for each place where candidates still branch, and four
    times the widest activations of a piece of ``rows``. For DiT-XL/2-256 in float32, 64 inputs in
    batches of 16, keep 16 on a CPU: 2.1 + 1.1 GB, at most 30 x 94 MB, and 0.3 GB.
    """

    def __init__(
        self,
        chain: Chain,
        cells: Mapping[str, Cell],
        batches: Sequence[Batch],
        work: np.ndarray,
        rows: int,
        distance: Distance | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.chain, self.cells, self.batches = chain, cells, tuple(batches)
        self.groups = tuple(cells)
        self.forwards, self._limit = 0.0, math.inf
        self._kept = 0  # bytes of prefixes
        self._index = {name: at for at, name in enumerate(self.groups)}
        self._inputs = sum(len(batch) for batch in batches)
        self._share = work / work.sum()
        self._rows, self._clock = rows, clock
        self.distance = distance or squared_error

    def price(self, partial: Partial) -> float:
        """The most forwards that an allocation takes: everything from its first group on."""
        first = min((self._index[group] for group in partial), default=len(self.groups))
        return float(self._share[first:].sum())

    def count(self, stage: int, inputs: int) -> None:
        """Adds to ``forwards`` what ``stage`` takes on so many inputs.

        Raises Exhausted where that is more than ``within`` allows.
        """
        self.spend(float(self._share[stage]) * inputs / self._inputs)

    def spend(self, forwards: float) -> None:
        """Adds to ``forwards``; raises as ``count`` does."""
        self.forwards += forwards
        if self.forwards > self._limit:
            raise Exhausted(f"there is no allowance for more than {self._limit:.4g} forwards")

    @contextmanager
    def within(self, forwards: float) -> Iterator[None]:
        """Inside, no more than ``forwards`` may be spent."""
        self._limit = self.forwards + forwards
        try:
            yield
        finally:
            self._limit = math.inf

    def errors(self, partials: Sequence[Partial]) -> np.ndarray:
        """What ``distance`` gives for each input: (allocations, inputs) float64."""
        return np.concatenate([self.batch_errors(partials, b) for b in self.batches], axis=1)

    def batch_errors(self, partials: Sequence[Partial], batch: Batch) -> np.ndarray:
        """The same on one batch: (allocations, inputs of the batch)."""
        sequences = [self._sequence(partial) for partial in partials]
        by_start: dict[int, set[Tokens]] = {}
        for start, own in sequences:
            by_start.setdefault(start, set()).add(own)
        with torch.inference_mode():
            found = {start: self._run(batch, start, own) for start, own in sorted(by_start.items())}
        return np.stack([found[start][own] for start, own in sequences])

    def _sequence(self, partial: Partial) -> tuple[int, Tokens]:
        """First stage, and the tokens from there to the last stage that is covered."""
        at = {self._index[group]: precision for group, precision in partial.items()}
        if not at:
            return len(self.groups), ()
        first, last = min(at), max(at)
        return first, tuple(at.get(stage) for stage in range(first, last + 1))

    def _run(self, batch: Batch, start: int, sequences: set[Tokens]) -> dict[Tokens, np.ndarray]:
        """Errors (inputs,) of candidates that all begin at stage ``start``."""
        length = max(map(len, sequences))
        whole = {own + (None,) * (length - len(own)): own for own in sequences}
        ends = self._ends(batch, start, sorted(whole, key=str))
        size = max(1, self._rows // len(batch))
        found: dict[Tokens, np.ndarray] = {}
        while piece := list(islice(ends, size)):
            state = State.cat([state for _, state in piece])
            errors = self._finished(batch, start + length, state)
            found |= {whole[own]: e for (own, _), e in zip(piece, errors, strict=True)}
        return found

    def _ends(
        self, batch: Batch, start: int, sequences: list[Tokens]
    ) -> Iterator[tuple[Tokens, State]]:
        """Each of ``sequences``, equally long and sorted, with its state behind its last stage.

        They are walked as a tree of beginnings, depth first: every distinct beginning runs once,
        and only states that something still branches off from are kept.
        """
        waiting = [(0, self._prefix(batch, start), sequences)]
        while waiting:
            depth, state, own = waiting.pop()
            if depth == len(own[0]):
                yield own[0], state
                continue
            token = own[0][depth]
            same = [each for each in own if each[depth] == token]
            if len(same) < len(own):
                waiting.append((depth, state, [each for each in own if each[depth] != token]))
            at = start + depth
            layer = batch.environment[at] if token is None else self._form(at, token)
            waiting.append((depth + 1, self._through(batch, at, state, layer), same))

    def _finished(self, batch: Batch, first: int, state: State) -> np.ndarray:
        """Errors (candidates, inputs) once the environment from stage ``first`` on has run."""
        for at in range(first, len(self.groups)):
            state = self._through(batch, at, state, batch.environment[at])
        output = self.chain.finish(state, batch.times, batch.classes)
        shares = output.view(-1, *batch.targets.shape)
        return self.distance(shares, batch.targets).double().cpu().numpy()

    def _form(self, at: int, precision: Precision) -> Layer:
        return self.cells[self.groups[at]].at(precision)

    def _through(self, batch: Batch, at: int, state: State, layer: Layer) -> State:
        self.count(at, len(state))
        if self._clock is not None:
            self._clock.set(batch.times.repeat(len(state) // len(batch)))
        return self.chain.run(at, state, batch.conditions, layer)

    def _prefix(self, batch: Batch, start: int) -> State:
        """The environment's state before stage ``start``, from the nearest one that is kept."""
        if start not in batch.prefixes:
            known = max((at for at in batch.prefixes if at < start), default=None)
            state = self.chain.start(batch.latents) if known is None else batch.prefixes[known]
            for at in range(known or 0, start):
                state = self._through(batch, at, state, batch.environment[at])
            size = state.bytes
            if start % len(STAGES) and self._kept + size > PREFIX_BYTES:
                return state  # a few stages behind the block's start, which is kept
            self._kept += size
            batch.prefixes[start] = state
        return batch.prefixes[start]


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of each candidate and input, float64."""
    return (outputs.double() - targets.double()).square().flatten(2).mean(2)
