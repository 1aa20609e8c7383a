"""Everything outside the groups under test in full precision."""

from collections.abc import Callable

import torch

from mpqbench.contracts import Environment, QuantizableGroup, plugin
from mpqbench.core.precision import Precision


@plugin
class Clean(Environment):
    """All other layers in full precision, as single-layer sensitivities assume."""

    def layer(
        self, group: QuantizableGroup, base: Precision, inputs: int, seed: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the layers in full precision."""
        return group.full
