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
    """What single-layer sensitivities assume: the others make no error of their own."""

    def layer(
        self, group: QuantizableGroup, base: Precision, inputs: int, seed: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """The layers as they are."""
        return group.full
