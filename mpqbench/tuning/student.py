"""The quantized model as a tuner sees it, and the data that a tuner is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..contracts import DistillationData, QuantizedWeight
from ..core.errors import BenchError
from ..core.progress import Reporter
from ..core.recipe import Protocol
from ..cost.storage import SCALE_BYTES
from ..dit.groups import Group
from ..dit.loading import DiTModel
from ..quant.apply import QuantizedModel
from ..quant.branch import branch_operator
from ..quant.linear import QuantizedLinear
from .checkpoint import Checkpoint
from .trajectories import HELD_OUT, KEPT_STEPS, TRAIN, TrajectoryStore


def record_lessons(
    tuner: Any,
    model: DiTModel,
    protocol: Protocol,
    seed: int,
    device: str,
    folder: Path,
    checkpoint: Checkpoint,
    reporter: Reporter,
) -> DistillationData:
    """The trajectories that ``tuner`` asks for, from ``folder`` or recorded there.

    ``folder`` belongs to this model, protocol and seed. The model must be in full precision where
    they are not on disk yet. Raises as ``TrajectoryStore.record``, and BenchError where they would
    be shorter than its ``span``.
    """
    span, steps = tuner.span, min(protocol.steps, KEPT_STEPS)
    if span > steps:
        raise BenchError(f"span {span} is longer than a recorded trajectory of {steps} steps")
    parts = []
    for axis, images in ((TRAIN, tuner.trajectories), (HELD_OUT, tuner.held_out)):
        store = TrajectoryStore(folder / axis)
        with reporter.stage(f"recording trajectories: {axis}", images) as advance:
            parts.append(store.record(model, protocol, seed, device, images, axis, advance))
    return DistillationData(parts[0], parts[1], seed, device, checkpoint, reporter)


class QuantizedStudent:
    """A quantized model that can be trained. What is changed through it stays counted.

    ``transformer`` is called with (latents, times, classes); ``layers`` are its quantized layers by
    path, ``rounded`` the integers and grids of those whose weight is rounded.
    """

    def __init__(self, quantized: QuantizedModel, groups: Sequence[Group]) -> None:
        self.transformer: Any = quantized.transformer
        self.layers: Mapping[str, QuantizedLinear] = quantized.layers
        self.rounded = dict(quantized.rounded)
        self._quantized = quantized
        self._groups = {path: group for group in groups for path in group.layers}

    def branch(self, path: str) -> Any:
        """Return the branch of a layer, or ``None``."""
        return self.layers[path].branch

    def branchable(self, path: str) -> bool:
        """Return whether the weight is rounded and the layer's group searchable."""
        return path in self.rounded and self._groups[path].searchable

    def add_branch(self, path: str, branch: Any) -> None:
        """Put a new branch beside a layer and into the count of the model's cost."""
        if self.branch(path) is not None:
            raise BenchError(f"layer {path} has a branch already")
        self.layers[path].branch = branch
        operator = branch_operator(path, self._groups[path], branch.size)
        self._quantized.operators += (operator,)

    def set_quantized_weight(self, path: str, rounded: QuantizedWeight) -> None:
        """Replace the integers and quantization parameters of a layer in the count.

        The weight of the layer must hold their values already. Zero points that are no whole
        numbers are counted at 16 bits each, like scales.
        """
        self.rounded[path], zero = rounded, rounded.zero
        if bool((zero != zero.round()).any()):
            grids = self._quantized.storage[path]
            self._quantized.storage[path] = replace(grids, zero=SCALE_BYTES * zero.numel())

    @contextmanager
    def training_mode(self, checkpointing: bool) -> Iterator[None]:
        """Freeze the model's own parameters while inside; with ``checkpointing``, save memory.

        Layers stay in evaluation mode, because a DiT in training mode drops classes at random.
        """
        frozen = [p for p in self.transformer.parameters() if p.requires_grad]
        before = self.transformer.is_gradient_checkpointing
        for parameter in frozen:
            parameter.requires_grad_(False)
        if checkpointing and not before:
            self.transformer.enable_gradient_checkpointing()
        try:
            yield
        finally:
            if checkpointing and not before:
                self.transformer.disable_gradient_checkpointing()
            for parameter in frozen:
                parameter.requires_grad_(True)
