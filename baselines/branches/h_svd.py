"""A mixed branch: a global low rank, and rank 1 of every block of what is left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from mpqbench.contracts import BranchSize, plugin
from mpqbench.core.errors import BenchError
from mpqbench.quant.branch_settings import (
    DEFAULT_RANK,
    BranchSettings,
    check_pair,
    check_whole,
    one_size,
)
from mpqbench.quant.factors import (
    BlockFactors,
    BlockFit,
    BlockPartition,
    bits_of_rank,
    check_grid,
    largest_grid,
    project,
)

if TYPE_CHECKING:
    from mpqbench.contracts import LayerData

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

    rank: int | None = None
    grid: Sequence[int] | None = None
    like_rank: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_size(rank=self.rank, like_rank=self.like_rank)
        if (self.rank is None) != (self.grid is None):
            raise BenchError("h-svd has two parts: give both rank and grid, or like_rank alone")
        for name in ("rank", "like_rank"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        check_pair("grid", self.grid)

    def size(self, out_features: int, in_features: int) -> BranchSize:
        """Both parts. Raises BenchError for a grid that does not divide the layer."""
        parts = self._parts(out_features, in_features)
        sizes = [part.size(self.bits) for part in parts if part is not None]
        numbers, extra = (sum(getattr(own, n) for own in sizes) for n in ("numbers", "extra_bits"))
        sums = out_features if len(sizes) > 1 else 0  # both outputs are added up
        return BranchSize(numbers, numbers + sums, self.bits, extra)

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
        if self.rank is None and self.grid is None:
            return _shared(out, width, self.like_rank or DEFAULT_RANK, self.bits)
        assert self.rank is not None
        assert self.grid is not None
        rows, columns = self.grid
        blocks = BlockPartition(out, width, rows, columns)
        check_grid(blocks)
        return BlockPartition(out, width, rank=self.rank), blocks


@lru_cache(maxsize=1024)
def _shared(
    out: int, width: int, rank: int, bits: int
) -> tuple[BlockPartition, BlockPartition | None]:
    """Half of ``rank`` for the whole and blocks in the rest; all of it where they have no room."""
    most = bits_of_rank(out, width, rank, bits)
    own = min(max(1, rank // 2), out, width)
    left = most - bits_of_rank(out, width, own, bits)
    blocks = largest_grid(BlockPartition(out, width), bits, left)
    if blocks is None:
        return BlockPartition(out, width, rank=rank), None
    return BlockPartition(out, width, rank=own), blocks
