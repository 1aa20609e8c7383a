"""No branch."""

import torch

from mpqbench.contracts import Branch, BranchSize, FittedBranch, LayerData, plugin
from mpqbench.core.errors import BenchError


@plugin
class NoBranch(Branch):
    """Nothing beside the rounded weight: the control of every branch."""

    def size(self, out_features: int, in_features: int) -> BranchSize | None:
        """No branch for any layer."""
        return None

    def fit(self, target: torch.Tensor, layer: LayerData) -> FittedBranch:
        """Raises BenchError: what has no size is not fitted."""
        raise BenchError(f"layer {layer.name}: branch 'none' cannot be fitted")
