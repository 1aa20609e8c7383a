"""Calibration statistics: gathered once for all methods, one block at a time, kept on disk.

The network is walked block by block with the activations of all calibration inputs between two
blocks in memory, so that no more than one block's second moments exist at any moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ..core.errors import BenchError, Diverged
from ..core.files import write_atomic
from ..core.progress import Advance
from .blocks import embed, run_block
from .calibration import CalibrationSet
from .groups import Group, layer_groups
from .sampling import image_seed

ROWS = 4096  # rows of a layer's input kept for plugins: 19 MB at width 1152
FORMAT = 1  # of the files: part of every fingerprint


@dataclass(frozen=True)
class InputStatistics:
    """What calibration saw at the input of one group of layers, all float32 but the times.

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
    """Statistics in ``folder``: ``inputs.safetensors``, ``block-000.safetensors``, ..."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: tuple[int, dict[str, torch.Tensor]] | None = None

    def complete(self) -> bool:
        """Whether everything was gathered."""
        return (self.folder / "complete.json").is_file()

    def group(self, group: Group) -> InputStatistics:
        """Statistics at the input of ``group``; the block read last stays in memory."""
        content = self._block(group.block)
        return InputStatistics(
            **{f.name: content[f"{group.name}/{f.name}"] for f in fields(InputStatistics)}
        )

    def block_inputs(self, block: int) -> torch.Tensor:
        """What block number ``block`` saw: (inputs, tokens, width) float32."""
        return self._block(block)["hidden"]

    def calibration(self) -> CalibrationSet:
        """The inputs of the transformer that all this comes from."""
        return CalibrationSet(**read_tensors(self.folder / "inputs.safetensors"))

    def gather(
        self,
        transformer: Any,
        calibration: CalibrationSet,
        batch: int,
        device: str,
        advance: Advance,
    ) -> None:
        """Walk ``calibration`` through the full-precision ``transformer``, ``batch`` at a time.

        ``advance`` is called with 1 after each block. Raises Diverged where an input of a layer is
        not finite.
        """
        groups = layer_groups(transformer)
        write_tensors(self.folder / "inputs.safetensors", vars(calibration))
        dtype = next(transformer.parameters()).dtype
        with torch.inference_mode():
            hidden = [
                embed(transformer, latents.to(device, dtype))
                for latents, _, _ in calibration.batches(batch)
            ]
        for index, block in enumerate(transformer.transformer_blocks):
            own = [group for group in groups if group.block == index]
            content = {"hidden": torch.cat(hidden).float().cpu()}
            with torch.inference_mode():
                content |= _walk(transformer, block, own, hidden, calibration, batch, device)
            write_tensors(self.folder / f"block-{index:03d}.safetensors", content)
            advance(1)
        write_atomic(self.folder / "complete.json", json.dumps({"format": FORMAT}).encode())

    def _block(self, index: int) -> dict[str, torch.Tensor]:
        if self._loaded is None or self._loaded[0] != index:
            self._loaded = None  # free one block before the next one is read
            path = self.folder / f"block-{index:03d}.safetensors"
            self._loaded = (index, read_tensors(path))
        return self._loaded[1]


def _walk(
    transformer: nn.Module,
    block: nn.Module,
    groups: Sequence[Group],
    hidden: list[torch.Tensor],
    calibration: CalibrationSet,
    batch: int,
    device: str,
) -> dict[str, torch.Tensor]:
    """One block over all inputs; ``hidden`` goes in as its inputs and comes out as its outputs."""
    gatherers = {group.name: _Gatherer(group.name, calibration) for group in groups}
    layers = {group.name: transformer.get_submodule(group.layers[0]) for group in groups}
    for number, (_, times, classes) in enumerate(calibration.batches(batch)):
        seen: dict[str, torch.Tensor] = {}
        with _watching(layers, seen):
            output = run_block(block, hidden[number], times.to(device), classes.to(device))
        hidden[number] = output
        for name, x in seen.items():
            gatherers[name].add(x.float(), times, number)
    return {
        f"{name}/{key}": value
        for name, gatherer in gatherers.items()
        for key, value in gatherer.result().items()
    }


@contextmanager
def _watching(layers: dict[str, nn.Module], seen: dict[str, torch.Tensor]) -> Iterator[None]:
    """Puts the input of every layer into ``seen``."""

    def hook_for(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            seen[name] = arguments[0]

        return hook

    handles = [layer.register_forward_pre_hook(hook_for(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Gatherer:
    """Statistics of one input, batch after batch."""

    def __init__(self, name: str, calibration: CalibrationSet) -> None:
        self.name, self.total = name, len(calibration)
        self.steps = calibration.times.unique().flip(0)
        self.count = 0
        self.parts: dict[str, torch.Tensor] = {}
        self.rows: list[torch.Tensor] = []
        self.times: list[torch.Tensor] = []

    def add(self, x: torch.Tensor, times: torch.Tensor, number: int) -> None:
        """x: (n, tokens, in) or (n, in) float32; times: (n,); number: of the batch."""
        x = x.reshape(len(x), -1, x.shape[-1])
        if not torch.isfinite(x).all():
            raise Diverged(f"the input of {self.name} is not finite in full precision")
        if not self.parts:
            self._begin(x)
        rows = x.flatten(0, 1)
        self.parts["moment"] += rows.T @ rows
        self.count += len(rows)
        self._add_ranges(x, times)
        self._keep_rows(rows, times.repeat_interleave(x.shape[1]), len(x), number)

    def _begin(self, x: torch.Tensor) -> None:
        steps, width = len(self.steps), x.shape[-1]
        self.parts = {
            "moment": x.new_zeros((width, width), dtype=torch.float64),
            "step_low": x.new_full((steps,), float("inf")),
            "step_high": x.new_full((steps,), float("-inf")),
            "step_maxima": x.new_zeros((steps, width)),
        }

    def _add_ranges(self, x: torch.Tensor, times: torch.Tensor) -> None:
        at = (times[:, None] == self.steps).long().argmax(1).to(x.device)
        flat = x.flatten(1)
        self.parts["step_low"].scatter_reduce_(0, at, flat.amin(1), "amin")
        self.parts["step_high"].scatter_reduce_(0, at, flat.amax(1), "amax")
        maxima = x.abs().amax(1)
        every = at[:, None].expand_as(maxima)
        self.parts["step_maxima"].scatter_reduce_(0, every, maxima, "amax")

    def _keep_rows(self, rows: torch.Tensor, times: torch.Tensor, inputs: int, number: int) -> None:
        """A random sample in equal shares of the batches: a stride would favour some tokens."""
        share = min(len(rows), -(-ROWS * inputs // self.total))
        generator = torch.Generator().manual_seed(image_seed(number, self.name, 0))
        chosen = torch.randperm(len(rows), generator=generator)[:share].sort().values
        self.rows.append(rows[chosen.to(rows.device)].cpu())
        self.times.append(times[chosen])

    def result(self) -> dict[str, torch.Tensor]:
        """The fields of InputStatistics, on the CPU."""
        self.parts["moment"] = (self.parts["moment"] / self.count).float()
        return {
            "inputs": torch.cat(self.rows),
            "times": torch.cat(self.times),
            "steps": self.steps,
            **{name: part.cpu() for name, part in self.parts.items()},
        }


def write_tensors(path: Path, content: dict[str, torch.Tensor]) -> None:
    """A safetensors file, written in one step."""
    write_atomic(path, save({name: part.contiguous() for name, part in content.items()}))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Inverse of ``write_tensors``. Raises BenchError where the file is damaged."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BenchError(
            f"calibration statistics {path} cannot be read ({error}): delete the folder "
            f"{path.parent} and run again"
        ) from None
