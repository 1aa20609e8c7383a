"""No branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpqbench.contracts import Branch, plugin
from mpqbench.core.errors import BenchError

if TYPE_CHECKING:
    import torch

    from mpqbench.contracts import BranchSize, FittedBranch, LayerData


@plugin
class NoBranch(Branch):
    """Nothing beside the rounded weight: the control of every branch."""

    def size(self, out_features: int, in_features: int) -> BranchSize | None:
        """No branch for any layer."""
        return None

    def fit(self, target: torch.Tensor, layer: LayerData) -> FittedBranch:
        """Raises BenchError: what has no size is not fitted."""
        raise BenchError(f"layer {layer.name}: branch 'none' cannot be fitted")
