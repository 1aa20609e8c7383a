"""The quantized model as a tuner sees it, and the data that the tuner is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..contracts import DistillationData, QuantizedWeight, Tuner
from ..core.cache import Cache
from ..core.errors import BenchError
from ..cost.storage import SCALE_BYTES
from ..dit.groups import Group
from ..dit.sampling import Sampler
from ..quant.apply import QuantizedModel
from ..quant.branch import branch_operator
from ..quant.group import QuantizedLinear
from .checkpoint import Checkpoint
from .trajectories import HELD_OUT, KEPT_STEPS, TRAIN, Trajectories, TrajectoryStore


def distillation_data(
    tuner: Tuner, sampler_of: Callable[[str], Sampler], cache: Cache, checkpoint: Checkpoint
) -> DistillationData:
    """Return the trajectories that ``tuner`` asks for, recorded where the cache lacks them.

    ``sampler_of`` gives the sampler of an axis of noise; ``cache`` belongs to its model, protocol
    and seed. Raises as ``TrajectoryStore.record``, and BenchError where trajectories would be
    shorter than the tuner's ``span``.
    """
    train, held_out = sampler_of(TRAIN), sampler_of(HELD_OUT)
    span, steps = tuner.span, min(train.protocol.steps, KEPT_STEPS)
    if span > steps:
        raise BenchError(f"span {span} is longer than a recorded trajectory of {steps} steps")
    parts: list[Trajectories] = []
    reporter = cache.reporter
    for sampler, images in ((train, tuner.trajectories), (held_out, tuner.held_out)):
        store = TrajectoryStore(cache.at(sampler.axis), sampler)
        with reporter.stage(f"recording trajectories: {sampler.axis}", images) as advance:
            parts.append(store.record(images, advance))
    return DistillationData(parts[0], parts[1], train.seed, train.device, checkpoint, reporter)


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
        """The branch of a layer, or ``None``."""
        return self.layers[path].branch

    def branchable(self, path: str) -> bool:
        """Whether a branch may be added: the weight is rounded, the layer's group searchable."""
        return path in self.rounded and self._groups[path].searchable

    def add_branch(self, path: str, branch: Any) -> None:
        """Put a new branch beside a layer, and into the count of the model's cost."""
        if self.branch(path) is not None:
            raise BenchError(f"layer {path} has a branch already")
        self.layers[path].branch = branch
        operator = branch_operator(path, self._groups[path], branch.size)
        self._quantized.operators += (operator,)

    def set_quantized_weight(self, path: str, rounded: QuantizedWeight) -> None:
        """Note the trained integers and grids of a layer, whose weight holds them already.

        Zero points that are no whole numbers any more are counted at 16 bits each, like scales.
        """
        self.rounded[path], zero = rounded, rounded.zero
        if bool((zero != zero.round()).any()):
            grids = self._quantized.storage[path]
            self._quantized.storage[path] = replace(grids, zero=SCALE_BYTES * zero.numel())

    @contextmanager
    def training_mode(self, checkpointing: bool) -> Iterator[None]:
        """While inside, no parameter of its own has a gradient, and blocks may be computed twice.

        Layers stay in evaluation mode: a DiT in training mode drops classes at random.
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
