"""Everything outside the groups under test in full precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mpqbench.contracts import Environment, plugin

if TYPE_CHECKING:
    import torch

    from mpqbench.contracts import QuantizableGroup
    from mpqbench.core.precision import Precision


@plugin
class Clean(Environment):
    """All other layers in full precision, as single-layer sensitivities assume."""

    def layer(
        self, group: QuantizableGroup, base: Precision, inputs: int, seed: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the layers in full precision."""
        return group.full
