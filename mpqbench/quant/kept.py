"""Results of a slow rounding, kept so that a job that was stopped goes on where it was."""

from collections.abc import Callable, Mapping

import torch

from ..contracts import BlockData, LayerData, QuantizedWeight, Rounding
from ..core.cache import Cache
from ..core.formats import WeightFormat
from ..core.settings import digest_of
from ..dit.state import tensor_digest


class KeptRounding(Rounding):
    """Rounds as ``rounding`` does; what is in ``cache`` is not rounded again.

    ``cache`` belongs to everything that the result depends on but the weights: the plugin with its
    sources and parameters, the model, the recipe and the calibration set. With ``required``
    nothing is rounded: BenchError is raised for what is not there.
    """

    def __init__(self, rounding: Rounding, cache: Cache, required: bool = False) -> None:
        self.rounding, self.cache, self.required = rounding, cache, required
        self.by_block, self.needs_inputs = rounding.by_block, rounding.needs_inputs
        self.error_bound, self.slow = rounding.error_bound, rounding.slow

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Round a weight (out, in), or return what was kept of the same weight."""
        given = {layer.name: (weight, bits)}
        return self._kept(
            given, fmt, lambda: {layer.name: self.rounding.round(weight, layer, fmt, bits)}
        )[layer.name]

    def round_block(self, block: BlockData, fmt: WeightFormat) -> Mapping[str, QuantizedWeight]:
        """Round the layers of a block, or return what was kept of the same weights."""
        given = {path: (weight, block.bits[path]) for path, weight in block.weights.items()}
        return self._kept(given, fmt, lambda: self.rounding.round_block(block, fmt))

    def _kept(
        self,
        given: Mapping[str, tuple[torch.Tensor, int]],
        fmt: WeightFormat,
        make: Callable[[], Mapping[str, QuantizedWeight]],
    ) -> Mapping[str, QuantizedWeight]:
        facts = [[path, tensor_digest(weight), bits] for path, (weight, bits) in given.items()]
        name = digest_of([facts, repr(fmt)])
        known = self.cache.require(name) if self.required else self.cache.read(name)
        if known is None:
            made = make()
            if not all(isinstance(q, QuantizedWeight) for q in made.values()):
                return made  # which is refused where the layer is checked
            parts = {path: (q.integers, q.scale, q.zero, q.bits) for path, q in made.items()}
            self.cache.write(name, parts)
            return made
        device = next(iter(given.values()))[0].device
        return {
            path: QuantizedWeight(integers.to(device), scale.to(device), zero.to(device), bits)
            for path, (integers, scale, zero, bits) in known.items()
        }
