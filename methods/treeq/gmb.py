"""GMB, the general Monarch branch: low-rank blocks of a permuted rectangular grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from mpqbench.contracts import plugin
from mpqbench.core.errors import BenchError, check_whole
from mpqbench.quant.branch_settings import (
    DEFAULT_RANK,
    BranchSettings,
    check_pair,
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
    import torch

    from mpqbench.contracts import BranchSize, LayerData

PERMUTATIONS = ("none", "energy", "spread")


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

    grid: Sequence[int] | None = None
    like_rank: int | None = None
    block_rank: int = 1
    permutation: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_size(grid=self.grid, like_rank=self.like_rank)
        check_pair("grid", self.grid)
        check_whole("block_rank", self.block_rank)
        if self.permutation not in PERMUTATIONS:
            valid = ", ".join(PERMUTATIONS)
            raise BenchError(f"permutation must be one of {valid}, not {self.permutation!r}")
        if self.grid is None:
            rank = DEFAULT_RANK if self.like_rank is None else self.like_rank
            check_whole("like_rank", rank)
            if rank < self.block_rank:
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
        """The permutation of the rows (out,) and columns (in,) of target."""
        rows, columns = _by_energy(target, moment)
        if self.permutation == "spread":
            rows, columns = _spread(rows, grid.rows), _spread(columns, grid.columns)
        return rows, columns

    def _grid(self, out: int, width: int) -> BlockPartition:
        permuted = self.permutation != "none"
        if self.grid is None:
            rank = self.like_rank or DEFAULT_RANK
            whole = BlockPartition(out, width, rank=self.block_rank, permuted=permuted)
            return _of_bytes(whole, rank, self.bits)
        rows, columns = self.grid
        grid = BlockPartition(out, width, rows, columns, self.block_rank, permuted)
        check_grid(grid)
        return grid


@lru_cache(maxsize=1024)
def _of_bytes(whole: BlockPartition, like_rank: int, bits: int) -> BlockPartition:
    most = bits_of_rank(whole.out, whole.width, like_rank, bits)
    found = largest_grid(whole, bits, most)
    assert found is not None  # one block of a rank of at most like_rank always fits
    return found


def _spread(order: torch.Tensor, blocks: int) -> torch.Tensor:
    """Put entries i, i + blocks, ... of ``order`` into block i."""
    return order.view(-1, blocks).T.flatten()


def _by_energy(
    target: torch.Tensor, moment: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (out,) and columns (in,) of target, those of most energy first."""
    energy = target.double().square()
    if moment is not None:
        energy = energy * moment.double().diagonal()
    orders = [energy.sum(axis).argsort(descending=True, stable=True) for axis in (1, 0)]
    return orders[0], orders[1]
