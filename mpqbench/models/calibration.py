"""Calibration inputs, recorded from the full-precision model's own sampling.

Data-free: only noise and classes are needed, as Q-DiT and PTQ4DiT do on DiT.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..recipe import Protocol
from .loading import DiTModel
from .sampling import DTYPES, Sampler, image_seed

ROWS_PER_LAYER = 4096  # rows of a layer's input kept for plugins: 19 MB at width 1152


@dataclass(frozen=True)
class CalibrationSet:
    """Inputs of the transformer: latents (n, c, h, w) float32, times (n,), classes (n,)."""

    latents: torch.Tensor
    times: torch.Tensor
    classes: torch.Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Consecutive parts of at most ``size`` inputs."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.latents[part], self.times[part], self.classes[part]


def record_calibration(
    model: DiTModel, protocol: Protocol, seed: int, device: str
) -> CalibrationSet:
    """``protocol.calibration`` inputs, spread evenly over steps and classes.

    Image i gives its latent at one step and, because guidance evaluates the model on both, either
    its class or the null class. Steps and nulls are dealt by seeded permutations: equal shares,
    and no class is tied to a part of the trajectory. The noise is on an axis of its own, so no
    calibration image is ever an evaluated one.
    """
    count = protocol.calibration
    deal = np.random.default_rng(image_seed(seed, "calibration-deal", 0))
    positions = deal.permutation(count) * protocol.steps // count
    null = deal.permutation(count) % 2 == 1
    latents: list[torch.Tensor] = [torch.empty(0)] * count
    times = torch.zeros(count, dtype=torch.long)
    classes = torch.zeros(count, dtype=torch.long)

    def keep(first: int, position: int, x: torch.Tensor, time: int, y: torch.Tensor) -> None:
        for slot in range(min(len(x), count - first)):
            index = first + slot
            if positions[index] == position:
                latents[index] = x[slot].float().cpu()
                times[index] = time
                classes[index] = model.classes if null[index] else y[slot]

    sampler = Sampler(model, protocol, seed, device, axis="calibration")
    for _ in sampler.batches(0, count, observe=keep):
        pass
    return CalibrationSet(torch.stack(latents), times, classes)


@dataclass
class LayerInputs:
    """What calibration saw at one layer: range over everything, rows (n, in) of a fixed sample."""

    low: float = float("inf")
    high: float = float("-inf")
    rows: list[torch.Tensor] = field(default_factory=list)

    @property
    def range(self) -> tuple[float, float]:
        """(smallest, largest) input value."""
        return self.low, self.high

    def sample(self) -> torch.Tensor:
        """Kept rows (n, in) float32."""
        return torch.cat(self.rows)


def layer_inputs(
    model: DiTModel,
    protocol: Protocol,
    calibration: CalibrationSet,
    layers: Iterable[str],
    device: str,
) -> Mapping[str, LayerInputs]:
    """Ranges and rows at the input of every named layer, in one pass."""
    seen = {name: LayerInputs() for name in layers}
    per_batch = -(-ROWS_PER_LAYER * protocol.micro_batch // len(calibration))
    with _watching(model.transformer, seen, per_batch), torch.inference_mode():
        for latents, times, classes in calibration.batches(protocol.micro_batch):
            model.transformer(
                latents.to(device, DTYPES[protocol.dtype]), times.to(device), classes.to(device)
            )
    return seen


@contextmanager
def _watching(root: nn.Module, seen: dict[str, LayerInputs], rows: int) -> Iterator[None]:
    def hook_for(entry: LayerInputs):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            x = arguments[0].detach().flatten(0, -2).float()
            entry.low = min(entry.low, float(x.min()))
            entry.high = max(entry.high, float(x.max()))
            stride = max(1, len(x) // rows)
            entry.rows.append(x[::stride][:rows].clone())

        return hook

    handles = [
        root.get_submodule(name).register_forward_pre_hook(hook_for(entry))
        for name, entry in seen.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
