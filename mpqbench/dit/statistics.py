"""Calibration statistics: gathered once for all methods, block by block, and kept on disk.

The activations of all calibration inputs between two blocks are in memory, and the second moments
of one block at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import nn

from ..core.cache import Cache
from ..core.errors import Diverged
from ..core.progress import Advance
from .blocks import BlockCall, block_calls, block_modules, run_block
from .calibration import CalibrationSet
from .groups import Group, layer_groups
from .sampling import image_seed

ROWS = 4096  # rows of a layer's input kept for plugins: 19 MB at width 1152
_INPUTS, _STATE = "inputs", "state"


@dataclass(frozen=True)
class InputStatistics:
    """Statistics of the calibration inputs of one group of layers, all float32 but the times.

    ``inputs`` (n, in) is a fixed random sample of rows and ``times`` (n,) the time step of each;
    ``moment`` (in, in) the mean of ``x x^T`` over all rows. For each of ``steps`` (s,), the
    noisiest first: ``step_low`` and ``step_high`` (s,) the range of all values, ``step_maxima``
    (s, in) the largest ``|x|`` of each channel.
    """

    inputs: torch.Tensor
    times: torch.Tensor
    moment: torch.Tensor
    steps: torch.Tensor
    step_low: torch.Tensor
    step_high: torch.Tensor
    step_maxima: torch.Tensor


class StatisticsStore:
    """Statistics of one set of calibration inputs, block by block in a cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._loaded: tuple[int, dict[str, torch.Tensor]] | None = None

    def complete(self, blocks: int) -> bool:
        """Return whether the inputs and all blocks are there and whole."""
        return all(map(self.cache.holds, [_INPUTS, *map(_block_name, range(blocks))]))

    def group(self, group: Group) -> InputStatistics:
        """Return the statistics at the input of ``group``; the last block read stays in memory."""
        content = self._block(group.block)
        return InputStatistics(
            **{f.name: content[f"{group.name}/{f.name}"] for f in fields(InputStatistics)}
        )

    def block_state(self, block: int) -> dict[str, torch.Tensor]:
        """Return the activations before block number ``block``, float32, by name of the argument.

        Each has the calibration inputs on its first axis.
        """
        mark = f"{_STATE}/"
        return {
            name.removeprefix(mark): value
            for name, value in self._block(block).items()
            if name.startswith(mark)
        }

    def calibration(self) -> CalibrationSet:
        """Return the inputs of the transformer from which the statistics were gathered."""
        return CalibrationSet(**self.cache.require(_INPUTS))

    def gather(
        self, transformer: Any, calibration: CalibrationSet, batch: int, advance: Advance
    ) -> None:
        """Run ``calibration`` through the full-precision ``transformer``, ``batch`` at a time.

        ``advance`` is called with 1 after each block. Raises Diverged where an input of a layer is
        not finite.
        """
        groups = layer_groups(transformer)
        self.cache.write(_INPUTS, vars(calibration))
        device, dtype = transformer.device, transformer.dtype
        batches = [tuple(part.to(device) for part in each) for each in calibration.batches(batch)]
        with torch.inference_mode():
            calls = [block_calls(transformer, x.to(dtype), t, y) for x, t, y in batches]
            states = [each[0].state for each in calls]
        for index, block in enumerate(block_modules(transformer)):
            names = {group.name: group.layers[0] for group in groups if group.block == index}
            layers = {name: transformer.get_submodule(path) for name, path in names.items()}
            gatherers = {name: _Gatherer(name, calibration) for name in layers}
            content = {
                f"{_STATE}/{name}": torch.cat([state[name] for state in states]).float().cpu()
                for name in states[0]
            }
            with torch.inference_mode(), _watching(layers) as seen:
                for number, (_, times, _) in enumerate(batches):
                    call = BlockCall(states[number], calls[number][index].rest)
                    states[number] = run_block(transformer, call, block)
                    for name, gatherer in gatherers.items():
                        gatherer.add(seen[name].float(), times.cpu(), number)
                for name, gatherer in gatherers.items():
                    content |= {f"{name}/{key}": part for key, part in gatherer.result().items()}
            self.cache.write(_block_name(index), content)
            advance(1)

    def _block(self, index: int) -> dict[str, torch.Tensor]:
        if self._loaded is None or self._loaded[0] != index:
            self._loaded = None  # free one block before the next one is read
            self._loaded = (index, self.cache.require(_block_name(index)))
        return self._loaded[1]


def _block_name(index: int) -> str:
    return f"block-{index:03d}"


@contextmanager
def _watching(layers: dict[str, nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """Give a dictionary that has the last input of every layer until the context exits."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, _module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        seen[name] = arguments[0]

    handles = [layer.register_forward_pre_hook(partial(keep, n)) for n, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class _Gatherer:
    """Statistics of the input of one group, batch after batch."""

    def __init__(self, name: str, calibration: CalibrationSet) -> None:
        self.name, self.total = name, len(calibration)
        self.steps = calibration.times.unique().flip(0)
        self.count = 0
        self.parts: dict[str, torch.Tensor] = {}
        self.rows: list[torch.Tensor] = []
        self.times: list[torch.Tensor] = []

    def add(self, x: torch.Tensor, times: torch.Tensor, number: int) -> None:
        """Add x (n, tokens, in) or (n, in) float32 at times (n,), batch ``number``."""
        x = x.reshape(len(x), -1, x.shape[-1])
        if not torch.isfinite(x).all():
            raise Diverged(f"the input of {self.name} is not finite in full precision")
        if not self.parts:
            self._begin(x)
        rows, parts = x.flatten(0, 1), self.parts
        parts["moment"] += rows.T @ rows
        self.count += len(rows)
        at = (times[:, None] == self.steps).long().argmax(1).to(x.device)
        flat, maxima = x.flatten(1), x.abs().amax(1)
        parts["step_low"].scatter_reduce_(0, at, flat.amin(1), "amin")
        parts["step_high"].scatter_reduce_(0, at, flat.amax(1), "amax")
        parts["step_maxima"].scatter_reduce_(0, at[:, None].expand_as(maxima), maxima, "amax")
        # A random sample of rows, in equal shares of the batches.
        share = min(len(rows), -(-ROWS * len(x) // self.total))
        generator = torch.Generator().manual_seed(image_seed(number, self.name, 0))
        chosen = torch.randperm(len(rows), generator=generator)[:share].sort().values
        self.rows.append(rows[chosen.to(rows.device)].cpu())
        self.times.append(times.repeat_interleave(x.shape[1])[chosen])

    def _begin(self, x: torch.Tensor) -> None:
        steps, width = len(self.steps), x.shape[-1]
        self.parts = {
            "moment": x.new_zeros((width, width), dtype=torch.float64),
            "step_low": x.new_full((steps,), float("inf")),
            "step_high": x.new_full((steps,), float("-inf")),
            "step_maxima": x.new_zeros((steps, width)),
        }

    def result(self) -> dict[str, torch.Tensor]:
        """Return the fields of InputStatistics, on the CPU."""
        self.parts["moment"] = (self.parts["moment"] / self.count).float()
        parts = {name: part.cpu() for name, part in self.parts.items()}
        rows, times = torch.cat(self.rows), torch.cat(self.times)
        return {"inputs": rows, "times": times, "steps": self.steps, **parts}
