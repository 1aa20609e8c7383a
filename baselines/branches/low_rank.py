"""A low-rank branch: truncated SVD."""

import torch
from pydantic import PositiveInt

from mpqbench.contracts import BranchSize, LayerData, plugin
from mpqbench.quant.branch_settings import DEFAULT_RANK, BranchSettings, Share, one_size
from mpqbench.quant.factors import BlockFactors, BlockFit, BlockPartition, project


@plugin
class LowRank(BranchSettings):
    """The best matrix of rank ``rank`` (SVDQuant, arXiv 2411.05007, equations 4 to 6).

    With ``shared`` the layers that read one input, such as queries, keys and values, share the
    down-projection, as in SVDQuant's own code: ``rank (in + 3 out)`` numbers, not ``3 rank (in +
    out)``.

    ``rank`` is a number, or with ``ratio`` that share of the layer's smaller side, at least 1; rank
    4 without either. With ``weighted`` it is the best for the layer's output (SVD of ``W C`` with
    ``C C^T`` the moment), and ``randomized`` takes an SVD of a random sketch.
    """

    rank: PositiveInt | None = None
    ratio: Share | None = None
    randomized: bool = False
    shared: bool = False

    def __post_init__(self) -> None:
        one_size(rank=self.rank, ratio=self.ratio)

    def size(self, out_features: int, in_features: int) -> BranchSize:
        """``rank (out + in)`` numbers and multiplications."""
        return self._grid(out_features, in_features).size(self.bits)

    def fit(self, target: torch.Tensor, layer: LayerData) -> BlockFactors:
        """The best approximation of target (out, in)."""
        drawn = torch.Generator().manual_seed(layer.seed) if self.randomized else None
        fit = BlockFit(self.moment(layer), generator=drawn, name=layer.name)
        return project(target, self._grid(*target.shape), self.bits, fit)

    def _grid(self, out: int, width: int) -> BlockPartition:
        rank = self.rank or DEFAULT_RANK
        if self.ratio is not None:
            rank = max(1, round(self.ratio * min(out, width)))
        return BlockPartition(out, width, rank=rank)
