"""A mixed branch: a global low rank, and rank 1 of every block of what is left."""

import torch
from pydantic import PositiveInt
from torch import nn

from mpqbench.contracts import BranchSize, LayerData, plugin
from mpqbench.core.errors import BenchError
from mpqbench.quant.branch_settings import DEFAULT_RANK, BranchSettings, Grid, one_size
from mpqbench.quant.factors import (
    BlockFactors,
    BlockFit,
    BlockPartition,
    bits_of_rank,
    check_grid,
    largest_grid,
    project,
)

TURNS = 3  # in which both parts are fitted to what the other leaves


class Sum(nn.Module):
    """Two matrices of blocks side by side."""

    def __init__(self, whole: BlockFactors, blocks: BlockFactors, size: BranchSize) -> None:
        super().__init__()
        self.whole, self.blocks, self.size = whole, blocks, size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input (..., in) to (..., out)."""
        return self.whole(x) + self.blocks(x)

    def dense(self) -> torch.Tensor:
        """The matrix (out, in)."""
        return self.whole.dense() + self.blocks.dense()


@plugin
class MixedSVD(BranchSettings):
    """SVD of the whole, then of l x k blocks of the rest at rank 1, three times in turn.

    The two parts of Q-DiT4SR's H-SVD (arXiv 2602.01273), which fits them once. ``rank`` and
    ``grid`` = [l, k] size them; without, half the rank of ``like_rank`` (4 unless given) goes to
    the whole and its other bytes to as many blocks as they hold (our choice).
    """

    rank: PositiveInt | None = None
    grid: Grid | None = None
    like_rank: PositiveInt | None = None

    def __post_init__(self) -> None:
        one_size(rank=self.rank, like_rank=self.like_rank)
        if (self.rank is None) != (self.grid is None):
            raise BenchError("h-svd has two parts: give both rank and grid, or like_rank alone")

    def size(self, out_features: int, in_features: int) -> BranchSize:
        """Both parts. Raises BenchError for a grid that does not divide the layer."""
        parts = self._parts(out_features, in_features)
        sizes = [part.size(self.bits) for part in parts if part is not None]
        numbers = sum(size.numbers for size in sizes)
        sums = out_features if len(sizes) > 1 else 0  # both outputs are added up
        extra = sum(size.extra_bits for size in sizes)
        between = sum(size.between for size in sizes)
        return BranchSize(numbers, numbers, self.bits, extra, sums, between)

    def fit(self, target: torch.Tensor, layer: LayerData) -> Sum | BlockFactors:
        """Both parts, each fitted to what the other leaves of target (out, in)."""
        whole, blocks = self._parts(*target.shape)
        how = BlockFit(self.moment(layer), name=layer.name)

        def fitted(rest: torch.Tensor, grid: BlockPartition) -> BlockFactors:
            return project(rest, grid, self.bits, how)

        first = fitted(target, whole)
        if blocks is None:
            return first
        second = fitted(target - first.dense(), blocks)
        for _ in range(TURNS - 1):
            first = fitted(target - second.dense(), whole)
            second = fitted(target - first.dense(), blocks)
        return Sum(first, second, self.size(*target.shape))

    def _parts(self, out: int, width: int) -> tuple[BlockPartition, BlockPartition | None]:
        if self.rank is not None and self.grid is not None:
            blocks = BlockPartition(out, width, *self.grid)
            check_grid(blocks)
            return BlockPartition(out, width, rank=self.rank), blocks
        rank = self.like_rank or DEFAULT_RANK
        half = min(max(1, rank // 2), out, width)
        left = bits_of_rank(out, width, rank, self.bits) - bits_of_rank(out, width, half, self.bits)
        found = largest_grid(BlockPartition(out, width), self.bits, left)
        # Where blocks have no room, the whole takes all of the rank.
        return BlockPartition(out, width, rank=rank if found is None else half), found
