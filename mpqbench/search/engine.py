"""Joint scores of many allocations at once: shared prefixes, shared left halves, one big batch.

A partial allocation covers some groups; the others are in the environment. Everything before the
first covered stage is the same for all candidates and is cached. From there on candidates with the
same precisions so far are one candidate, and all that take one precision at a stage go through it
together; behind the last covered stage all of them go through the environment together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..models.chain import Chain, Conditions, Layer, State
from ..precision import Precision
from ..quant.ranges import Clock
from .cells import Cell

Partial = Mapping[str, Precision]
Token = Precision | None  # at one stage; None: the environment
Tokens = tuple[Token, ...]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


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
    forwards of all inputs. ``rows`` is how many inputs go through a stage in one piece, at least
    one batch. ``distance`` makes scores (candidates, inputs) of outputs (candidates, inputs, c, h,
    w) and targets (inputs, c, h, w); mean squared error unless an objective has its own. ``clock``
    is told the time steps of what runs, for grids that follow them.
    """

    def __init__(
        self,
        chain: Chain,
        cells: Mapping[str, Cell],
        batches: Sequence[Batch],
        work: np.ndarray,
        rows: int = 512,
        distance: Distance | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.chain, self.cells, self.batches = chain, cells, tuple(batches)
        self.groups = tuple(cells)
        self.forwards = 0.0
        self._index = {name: at for at, name in enumerate(self.groups)}
        self._inputs = sum(len(batch) for batch in batches)
        self._share = work / work.sum()
        self._rows, self._clock = rows, clock
        self.distance = distance or squared_error

    def price(self, partial: Partial) -> float:
        """The most forwards that an allocation takes: everything from its first group on."""
        first = min((self._index[group] for group in partial), default=len(self.groups))
        return float(self._share[first:].sum())

    def errors(self, partials: Sequence[Partial]) -> np.ndarray:
        """What ``distance`` gives for each input: (allocations, inputs) float64."""
        return np.concatenate([self.batch_errors(partials, b) for b in self.batches], axis=1)

    def batch_errors(self, partials: Sequence[Partial], batch: Batch) -> np.ndarray:
        """The same on one batch: (allocations, inputs of the batch)."""
        sequences = [self._sequence(partial) for partial in partials]
        found: dict[tuple[int, Tokens], np.ndarray] = {}
        with torch.inference_mode():
            for start, chunk in self._chunks(set(sequences), len(batch)):
                errors = self._run(batch, start, chunk)
                found |= {(start, own): e for own, e in zip(chunk, errors, strict=True)}
        return np.stack([found[sequence] for sequence in sequences])

    def _sequence(self, partial: Partial) -> tuple[int, Tokens]:
        """First stage, and the tokens from there to the last stage that is covered."""
        at = {self._index[group]: precision for group, precision in partial.items()}
        if not at:
            return len(self.groups), ()
        first, last = min(at), max(at)
        return first, tuple(at.get(stage) for stage in range(first, last + 1))

    def _chunks(
        self, sequences: Iterable[tuple[int, Tokens]], inputs: int
    ) -> Iterator[tuple[int, list[Tokens]]]:
        """Sequences with one start, neighbours sharing as much as they can, few at a time."""
        by_start: dict[int, list[Tokens]] = {}
        for start, own in sequences:
            by_start.setdefault(start, []).append(own)
        size = max(1, self._rows // inputs)
        for start, every in sorted(by_start.items()):
            ordered = sorted(every, key=str)
            for at in range(0, len(ordered), size):
                yield start, ordered[at : at + size]

    def _run(self, batch: Batch, start: int, sequences: list[Tokens]) -> np.ndarray:
        """Errors (sequences, inputs) of candidates that all begin at stage ``start``."""
        length = max(map(len, sequences))
        padded = [own + (None,) * (length - len(own)) for own in sequences]
        state = self._prefix(batch, start)
        order: list[Tokens] = [()]
        for depth in range(length):
            state, order = self._step(batch, start + depth, state, order, padded)
        for at in range(start + length, len(self.groups)):
            state = self._through(batch, at, state, batch.environment[at])
        output = self.chain.finish(state, batch.times, batch.classes)
        shares = output.view(len(order), *batch.targets.shape)
        errors = self.distance(shares, batch.targets).double().cpu().numpy()
        place = {prefix: row for row, prefix in enumerate(order)}
        return errors[[place[own] for own in padded]]

    def _step(
        self,
        batch: Batch,
        at: int,
        state: State,
        order: list[Tokens],
        padded: list[Tokens],
    ) -> tuple[State, list[Tokens]]:
        """One stage for all distinct beginnings; those with one precision here go together."""
        depth = len(order[0])
        parent = {prefix: row for row, prefix in enumerate(order)}
        by_token: dict[Token, list[Tokens]] = {}
        for beginning in dict.fromkeys(own[: depth + 1] for own in padded):
            by_token.setdefault(beginning[-1], []).append(beginning)
        parts, new_order = [], []
        for token, beginnings in by_token.items():
            parents = [parent[beginning[:-1]] for beginning in beginnings]
            layer = batch.environment[at] if token is None else self._form(at, token)
            parts.append(self._through(batch, at, _candidates(state, parents, len(batch)), layer))
            new_order += beginnings
        return State.cat(parts), new_order

    def _form(self, at: int, precision: Precision) -> Layer:
        return self.cells[self.groups[at]].at(precision)

    def _through(self, batch: Batch, at: int, state: State, layer: Layer) -> State:
        self.forwards += float(self._share[at]) * len(state) / self._inputs
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
            batch.prefixes[start] = state
        return batch.prefixes[start]


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of each candidate and input, float64."""
    return (outputs.double() - targets.double()).square().flatten(2).mean(2)


def _candidates(state: State, parents: Sequence[int], inputs: int) -> State:
    """The share of each of ``parents`` in ``state``, one after another."""
    if list(parents) == list(range(len(state) // inputs)):
        return state
    offsets = torch.arange(inputs)
    rows = torch.cat([offsets + parent * inputs for parent in parents])
    return state.rows(rows.to(state.hidden.device))
