"""GMB, the general Monarch branch: low-rank blocks of a permuted rectangular grid."""

from typing import Literal

import torch
from pydantic import PositiveInt

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


@plugin
class Monarch(BranchSettings):
    """The nearest general Monarch matrix: rank ``block_rank`` of every block of an l x k grid.

    It stores and multiplies ``block_rank (l in + k out)`` numbers, as a low rank of ``block_rank
    l`` does where l = k, but its rank reaches ``block_rank l k``. The fit is the SVD of each block
    A, exactly optimal, as no two blocks share a number; with ``weighted`` that of ``A C`` with
    ``C C^T`` the moment of the block's inputs, which leaves out how blocks of one row err together.
    Applied as two batched products.

    ``grid`` = [l, k]; or the grid of most rank-one terms in the bytes of a low rank of
    ``like_rank`` (4 unless given) at the same bits. ``permutation`` "energy" sorts rows and columns
    by their squares, those of columns times the squares of their inputs where ``weighted``;
    "spread" deals them out to the blocks in that order, as each large one may ask for a rank of its
    own. The indices are counted. The abstract of TreeQ (arXiv 2512.06353) names a general Monarch
    branch without these details, which are our choice; the products are those of arXiv 2204.00595.
    """

    grid: Grid | None = None
    like_rank: PositiveInt | None = None
    block_rank: PositiveInt = 1
    permutation: Literal["none", "energy", "spread"] = "none"

    def __post_init__(self) -> None:
        one_size(grid=self.grid, like_rank=self.like_rank)
        rank = self.like_rank or DEFAULT_RANK
        if self.grid is None and rank < self.block_rank:
            raise BenchError(
                f"blocks of rank {self.block_rank} do not fit in the bytes of rank {rank}"
            )

    def size(self, out_features: int, in_features: int) -> BranchSize:
        """Raises BenchError for a grid that does not divide the layer."""
        return self._grid(out_features, in_features).size(self.bits)

    def fit(self, target: torch.Tensor, layer: LayerData) -> BlockFactors:
        """Return the nearest Monarch matrix of target (out, in)."""
        grid, moment = self._grid(*target.shape), self.moment(layer)
        order = self._order(target, moment, grid) if grid.permuted else None
        return project(target, grid, self.bits, BlockFit(moment, order, name=layer.name))

    def refit(self, before: BlockFactors, target: torch.Tensor, layer: LayerData) -> BlockFactors:
        """Return the nearest Monarch matrix in the order of ``before``.

        Sorted anew each round, the blocks would hold other entries, and what rounding had made room
        for would be lost.
        """
        fit = BlockFit(self.moment(layer), before.order, name=layer.name)
        return project(target, before.grid, self.bits, fit)

    def _order(
        self, target: torch.Tensor, moment: torch.Tensor | None, grid: BlockPartition
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the order of the rows (out,) and columns (in,) of target."""
        energy = target.double().square()
        if moment is not None:
            energy = energy * moment.double().diagonal()
        rows, columns = (energy.sum(axis).argsort(descending=True, stable=True) for axis in (1, 0))
        if self.permutation == "spread":  # entries i, i + blocks, ... go into block i
            rows = rows.view(-1, grid.rows).T.flatten()
            columns = columns.view(-1, grid.columns).T.flatten()
        return rows, columns

    def _grid(self, out: int, width: int) -> BlockPartition:
        permuted = self.permutation != "none"
        if self.grid is None:
            whole = BlockPartition(out, width, rank=self.block_rank, permuted=permuted)
            most = bits_of_rank(out, width, self.like_rank or DEFAULT_RANK, self.bits)
            found = largest_grid(whole, self.bits, most)
            assert found is not None  # one block of a rank of at most like_rank always fits
            return found
        grid = BlockPartition(out, width, *self.grid, self.block_rank, permuted)
        check_grid(grid)
        return grid
