"""The quantized model as a tuner sees it, and the data that the tuner is given."""

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
from ..quant.group import QuantizedLinear
from ..quant.planned import branch_operator
from .checkpoint import Checkpoint
from .trajectories import HELD_OUT, KEPT_STEPS, TRAIN, record_trajectories


def distillation_data(
    tuner: Tuner, sampler_of: Callable[[str], Sampler], cache: Cache, checkpoint: Checkpoint
) -> DistillationData:
    """Return the trajectories that ``tuner`` asks for, recorded where the cache lacks them.

    ``sampler_of`` gives the sampler of an axis of noise; ``cache`` belongs to its model, protocol
    and seed. Raises as ``record_trajectories``, and BenchError where trajectories would be shorter
    than the tuner's ``span``.
    """
    train, held_out = sampler_of(TRAIN), sampler_of(HELD_OUT)
    span, steps = tuner.span, min(train.protocol.steps, KEPT_STEPS)
    if span > steps:
        raise BenchError(f"span {span} is longer than a recorded trajectory of {steps} steps")
    rows = record_trajectories(train, tuner.trajectories, cache.at(TRAIN))
    held = record_trajectories(held_out, tuner.held_out, cache.at(HELD_OUT))
    return DistillationData(rows, held, train.seed, train.device, checkpoint, cache.reporter)


class QuantizedStudent:
    """A quantized model that can be trained. What is changed through it stays counted.

    ``transformer`` is called with (latents, times, classes); ``layers`` are its quantized layers by
    path, ``rounded`` the integers and quantization parameters of those whose weight is rounded.
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
        """Return whether a branch may be added: the weight is rounded, the group searchable."""
        return path in self.rounded and self._groups[path].searchable

    def add_branch(self, path: str, branch: Any) -> None:
        """Put a new branch beside a layer, and into the count of the model's cost."""
        if self.branch(path) is not None:
            raise BenchError(f"layer {path} has a branch already")
        layer = self.layers[path]
        layer.branch, sides = branch, (layer.out_features, layer.in_features)
        self._quantized.operators += (
            branch_operator(path, self._groups[path], branch.size, sides),
        )

    def set_quantized_weight(self, path: str, rounded: QuantizedWeight) -> None:
        """Note the trained integers and parameters of a layer, whose weight holds them already.

        Zero points that are no whole numbers any more are counted at 16 bits each, like scales.
        """
        self.rounded[path], zero = rounded, rounded.zero
        if bool((zero != zero.round()).any()):
            stored = self._quantized.storage[path]
            self._quantized.storage[path] = replace(stored, zero=SCALE_BYTES * zero.numel())

    @contextmanager
    def training_mode(self, checkpointing: bool) -> Iterator[None]:
        """While inside, no parameter of its own has a gradient, and blocks may be computed twice.

        Layers stay in evaluation mode: a DiT in training mode drops classes at random.
        """
        frozen = [p for p in self.transformer.parameters() if p.requires_grad]
        twice = checkpointing and not self.transformer.is_gradient_checkpointing
        for parameter in frozen:
            parameter.requires_grad_(False)
        if twice:
            self.transformer.enable_gradient_checkpointing()
        try:
            yield
        finally:
            if twice:
                self.transformer.disable_gradient_checkpointing()
            for parameter in frozen:
                parameter.requires_grad_(True)
