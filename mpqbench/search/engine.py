"""Joint outputs of many allocations at once, from which scorers make scores.

A partial allocation covers some groups; the others are in the environment. Everything before the
first covered stage is the same for all candidates and is cached. From there on candidates with the
same precisions so far are one candidate; behind the last covered stage several candidates go
through the environment together.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch

from ..core.errors import Exhausted
from ..core.precision import Precision
from ..dit.architectures import architecture_of
from ..dit.block_chain import chain_of
from ..dit.calibration import CalibrationSet
from ..dit.chain import Conditions, Layer, State
from ..dit.groups import Group
from ..quant.apply import quantize_fixed
from ..quant.build import GroupQuantizer
from .groups import SearchableGroup
from .setup import EngineSettings, attention, piece_rows, stage_work

Partial = Mapping[str, Precision]
Token = Precision | None  # at one stage; None: the environment
Tokens = tuple[Token, ...]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_Result = TypeVar("_Result")

PREFIX_BYTES = 2**30  # of all batches; above, only the prefixes before whole blocks are kept


@dataclass
class Batch:
    """Calibration inputs that go through together, and what is known of them.

    ``targets`` (n, channels, h, w) are outputs of full precision; ``environment`` has the layer of
    every group outside a candidate, ``prefixes`` the states of the environment before a stage.
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
    """Outputs and errors of partial allocations on calibration inputs.

    ``transformer`` is in full precision and stays so: its outputs are the targets. ``forwards``
    counts what was run, in forwards of all inputs; whoever counts begins at zero. Where
    quantization parameters follow time, the clock of the quantizer is told the time steps of what
    runs. ``quantize_fixed`` quantizes the groups that no search touches (adaLN) until its handle
    is left.

    Memory, beside the weights: prefixes (``PREFIX_BYTES``, or one state for each block and batch
    where that is more), one state of a batch for each place where candidates still branch, and four
    times the widest activations of a piece. For DiT-XL/2-256 in float32, 64 inputs in
    batches of 16, keep 16 on a CPU: 2.1 + 1.1 GB, at most 30 x 94 MB, and 0.3 GB.
    Raises as ``GroupQuantizer.quantize``.
    """

    def __init__(
        self,
        transformer: Any,
        groups: Sequence[Group],
        quantizer: GroupQuantizer,
        calibration: CalibrationSet,
        settings: EngineSettings,
    ) -> None:
        attend = attention(transformer, settings.attention_bits)
        self.chain = chain_of(transformer, attend)
        self.searchable = {
            g.name: SearchableGroup(transformer, g, quantizer) for g in groups if g.searchable
        }
        self.groups, self.clock = tuple(self.searchable), quantizer.clock
        self.quantize_fixed = partial(
            quantize_fixed, transformer, groups, settings.adaln, quantizer
        )
        self.forwards, self._limit = 0.0, math.inf
        self._kept = 0  # bytes of prefixes
        self._index = {name: at for at, name in enumerate(self.groups)}
        work = stage_work(transformer, groups)
        self._share = work / work.sum()
        self._rows = piece_rows(transformer, groups, settings.device)
        self.batches = self._batches(calibration, settings)
        self._inputs = sum(map(len, self.batches))
        self.errors([{}])  # the environment comes first: it may measure itself on what it sees
        self._prices = self._prices_by_stage()

    def _batches(self, calibration: CalibrationSet, settings: EngineSettings) -> list[Batch]:
        transformer, device = self.chain.transformer, settings.device
        architecture = architecture_of(transformer)
        dtype = next(transformer.parameters()).dtype
        parts = [
            (latents.to(device, dtype), times.to(device), classes.to(device))
            for latents, times, classes in calibration.batches(settings.batch)
        ]
        with torch.no_grad():  # not in inference mode: objectives take gradients through these
            targets = [architecture.forward(transformer, *part) for part in parts]
        found = []
        with self.quantize_fixed(), torch.no_grad():
            for number, (part, target) in enumerate(zip(parts, targets, strict=True)):
                self.clock.set(part[1])
                conditions = self.chain.conditions(*part)
                outside = [
                    settings.outside(group, len(target), number)
                    for group in self.searchable.values()
                ]
                found.append(Batch(*part, conditions, target, outside))
        return found

    def _prices_by_stage(self) -> np.ndarray:
        """Return the forwards from the nearest kept prefix before a stage on: (stages + 1,)."""
        prices = np.zeros(len(self.groups) + 1)
        for batch in self.batches:
            for first in range(len(prices)):
                known = max((at for at in batch.prefixes if at <= first), default=0)
                prices[first] += self._share[known:].sum() * len(batch) / self._inputs
        return prices

    def price(self, partial: Partial) -> float:
        """Return the most forwards that an allocation takes: all from its first group on.

        Where the state before that group is not kept, from the nearest one kept.
        """
        first = min((self._index[group] for group in partial), default=len(self.groups))
        return float(self._prices[first])

    def count(self, stage: int, inputs: int) -> None:
        """Spend what ``stage`` takes on so many inputs."""
        self.spend(float(self._share[stage]) * inputs / self._inputs)

    def spend(self, forwards: float) -> None:
        """Add to ``forwards``. Raises Exhausted where that is more than ``within`` allows."""
        self.forwards += forwards
        if self.forwards > self._limit * (1 + 1e-9):  # sums are rounded
            raise Exhausted(f"there is no allowance for more than {self._limit:.4g} forwards")

    @contextmanager
    def within(self, forwards: float) -> Iterator[None]:
        """Allow no more than ``forwards`` to be spent while inside."""
        self._limit = self.forwards + forwards
        try:
            yield
        finally:
            self._limit = math.inf

    def outputs(self, partials: Sequence[Partial], batch: Batch) -> list[torch.Tensor]:
        """Return the output (n, channels, h, w) of each allocation; equal ones share a tensor."""
        return self._each(partials, batch, list)

    def batch_errors(
        self, partials: Sequence[Partial], batch: Batch, distance: Distance | None = None
    ) -> np.ndarray:
        """Return the distance of outputs from ``batch.targets``: (allocations, n) float64.

        ``distance`` makes errors (candidates, n) of outputs (candidates, n, c, h, w) and targets
        (n, c, h, w); left out, the mean squared error.
        """
        measure = distance or squared_error
        return np.stack(
            self._each(partials, batch, lambda x: measure(x, batch.targets).double().cpu().numpy())
        )

    def errors(self, partials: Sequence[Partial], distance: Distance | None = None) -> np.ndarray:
        """Return ``batch_errors`` on all inputs: (allocations, inputs) float64."""
        parts = [self.batch_errors(partials, batch, distance) for batch in self.batches]
        return np.concatenate(parts, axis=1)

    def _each(
        self,
        partials: Sequence[Partial],
        batch: Batch,
        measure: Callable[[torch.Tensor], Iterable[_Result]],
    ) -> list[_Result]:
        """Return what ``measure`` makes of outputs (candidates, n, channels, h, w), one by one."""
        sequences = [self._sequence(partial) for partial in partials]
        by_start: dict[int, set[Tokens]] = {}
        for start, sequence in sequences:
            by_start.setdefault(start, set()).add(sequence)
        found: dict[tuple[int, Tokens], _Result] = {}
        with torch.inference_mode():
            for start, several in sorted(by_start.items()):
                for tokens, outputs in self._run(batch, start, several):
                    for each, result in zip(tokens, measure(outputs), strict=True):
                        found[start, each] = result
        return [found[sequence] for sequence in sequences]

    def _sequence(self, partial: Partial) -> tuple[int, Tokens]:
        """Return a first stage, and the tokens from there to the last stage that is covered.

        Both are moved outwards to the nearest boundary of the chain.
        """
        at = {self._index[group]: precision for group, precision in partial.items()}
        if not at:
            return len(self.groups), ()
        first = max(stage for stage in self.chain.boundaries if stage <= min(at))
        end = min(stage for stage in self.chain.boundaries if stage > max(at))
        return first, tuple(at.get(stage) for stage in range(first, end))

    def _run(
        self, batch: Batch, start: int, sequences: set[Tokens]
    ) -> Iterator[tuple[list[Tokens], torch.Tensor]]:
        """Yield candidates that all begin at stage ``start``, and their outputs, piece by piece."""
        length = max(map(len, sequences))
        whole = {tokens + (None,) * (length - len(tokens)): tokens for tokens in sequences}
        ends = self._ends(batch, start, sorted(whole, key=str))
        size = max(1, self._rows // len(batch))
        while piece := list(islice(ends, size)):
            states = [state for _, state in piece]
            state = type(states[0]).cat(states)
            for at in range(start + length, len(self.groups)):
                state = self._through(batch, at, state, batch.environment[at])
            output = self.chain.finish(state, batch.conditions)
            yield [whole[tokens] for tokens, _ in piece], output.view(-1, *batch.targets.shape)

    def _ends(
        self, batch: Batch, start: int, sequences: list[Tokens]
    ) -> Iterator[tuple[Tokens, State]]:
        """Yield each of ``sequences``, equally long and sorted, and the state after its last stage.

        The sequences are walked as a tree of beginnings, depth first: every distinct beginning runs
        once, and only states that something still branches off from are kept.
        """
        waiting = [(0, self._prefix(batch, start), sequences)]
        while waiting:
            depth, state, branch = waiting.pop()
            if depth == len(branch[0]):
                yield branch[0], state
                continue
            token = branch[0][depth]
            same = [each for each in branch if each[depth] == token]
            if len(same) < len(branch):
                waiting.append((depth, state, [each for each in branch if each[depth] != token]))
            at = start + depth
            layer = batch.environment[at]
            if token is not None:
                layer = self.searchable[self.groups[at]].at(token)
            waiting.append((depth + 1, self._through(batch, at, state, layer), same))

    def _through(self, batch: Batch, at: int, state: State, layer: Layer) -> State:
        for stage in self.chain.executed(at):
            self.count(stage, len(state))
        if self.clock.count > 1:
            self.clock.set(batch.times.repeat(len(state) // len(batch)))
        return self.chain.run(at, state, batch.conditions, layer)

    def _prefix(self, batch: Batch, start: int) -> State:
        """Return the environment's state before stage ``start``, from the nearest one kept."""
        if start not in batch.prefixes:
            known = max((at for at in batch.prefixes if at < start), default=None)
            if known is None:
                state = self.chain.start(batch.latents, batch.conditions)
            else:
                state = batch.prefixes[known]
            for at in range(known or 0, start + 1):
                # What is not kept lies a few stages behind the start of its block, which is.
                fits = self._kept + state.bytes <= PREFIX_BYTES
                if at in self.chain.block_starts or (fits and at in self.chain.boundaries):
                    self._kept += 0 if at in batch.prefixes else state.bytes
                    batch.prefixes[at] = state
                if at < start:
                    state = self._through(batch, at, state, batch.environment[at])
            return state
        return batch.prefixes[start]


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of each candidate and input, float64."""
    return (outputs.double() - targets.double()).square().flatten(2).mean(2)
