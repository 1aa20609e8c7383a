"""Matrices of low-rank blocks: what low-rank, Monarch and mixed branches are made of.

A matrix (out, in) is seen as a grid of l x k blocks (s, p), s = out / l and p = in / k, each kept
at rank rho: ``A_ij = U_ij V_ij``. Products then take ``rho (l in + k out)`` multiplications for a
row, as many as numbers are stored. One block is a matrix of rank rho; rank 1 of many blocks is a
(rectangular) Monarch matrix, arXiv 2204.00595, whose own rank reaches ``rho l k``.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn

from ..contracts import BranchSize
from ..core.errors import BenchError
from ..core.formats import divisors
from .affine import fake_quantize_dynamic
from .branch import operand

SCALE_BITS = 16
POWER_STEPS = 2  # of the randomised range finder
OVERSAMPLING = 8
_JITTERS = (1e-6, 1e-5, 1e-4, 1e-3)


@dataclass(frozen=True)
class BlockPartition:
    """l x k blocks of rank ``rank`` of a matrix (out, in); ``permuted`` rows and columns are kept.

    The rank is cut to the sides of a block. One row or column of blocks needs no permutation.
    """

    out: int
    width: int
    rows: int = 1
    columns: int = 1
    rank: int = 1
    permuted: bool = False

    @property
    def block(self) -> tuple[int, int]:
        """Sides (s, p) of a block."""
        return self.out // self.rows, self.width // self.columns

    @property
    def kept(self) -> int:
        """The rank that a block has."""
        return min(self.rank, *self.block)

    def size(self, bits: int) -> BranchSize:
        """Return the size; at 8 bits each term of a row or column of blocks has a scale."""
        numbers = self.kept * (self.rows * self.width + self.columns * self.out)
        extra = SCALE_BITS * self.kept * (self.rows + self.columns) if bits == 8 else 0
        if self.permuted:
            sides = ((self.out, self.rows), (self.width, self.columns))
            extra += sum(n * (n - 1).bit_length() for n, parts in sides if parts > 1)
        between = self.kept * self.rows * self.columns
        return BranchSize(numbers, numbers, bits, extra, between=between)


def bits_of_rank(out: int, width: int, rank: int, bits: int) -> int:
    """Return what a low-rank branch of ``rank`` stores at ``bits``: the unit of ``like_rank``."""
    return BlockPartition(out, width, rank=rank).size(bits).stored_bits


@lru_cache(maxsize=1024)
def largest_grid(whole: BlockPartition, bits: int, most: int) -> BlockPartition | None:
    """Cut ``whole`` into the grid of most rank-one terms that stores at most ``most`` bits.

    Of several such grids the squarest is taken; ``None`` where not even one block fits.
    """
    grids = (
        replace(whole, rows=rows, columns=columns)
        for rows in divisors(whole.out)
        for columns in divisors(whole.width)
    )
    fitting = (grid for grid in grids if grid.size(bits).stored_bits <= most)
    return max(fitting, key=_rank_of_grid, default=None)


def _rank_of_grid(grid: BlockPartition) -> tuple[int, float]:
    s, p = grid.block
    return grid.kept * grid.rows * grid.columns, -abs(math.log(s / p))


def check_grid(grid: BlockPartition) -> None:
    """Raise BenchError where the blocks of ``grid`` do not divide the matrix."""
    for side, parts, name in ((grid.out, grid.rows, "rows"), (grid.width, grid.columns, "columns")):
        if parts < 1 or side % parts:
            valid = ", ".join(map(str, divisors(side)))
            raise BenchError(
                f"a branch cannot split {side} {name} into {parts} blocks; valid: {valid}"
            )


Order = tuple[torch.Tensor, torch.Tensor]  # permutations of rows (out,) and columns (in,)


class BlockFactors(nn.Module):
    """The blocks of ``grid`` as two batched products.

    Made from ``right`` (k, l rho, p), which is applied first, and ``left`` (l, s, k rho), which is
    applied to its regrouped results; kept as (k rho, l, p) and (l rho, k, s), at 8 bits with a
    scale for each index of the first axis. With an ``order``, the blocks are those of the matrix
    whose row i is row ``rows[i]`` of this one, and columns likewise.
    """

    left: torch.Tensor
    right: torch.Tensor
    columns: torch.Tensor | None
    places: torch.Tensor | None

    def __init__(
        self,
        left: torch.Tensor,
        right: torch.Tensor,
        grid: BlockPartition,
        bits: int,
        order: Order | None = None,
    ) -> None:
        super().__init__()
        self.grid, self.size = grid, grid.size(bits)
        s, p = grid.block
        factors = {
            "left": left.view(grid.rows, s, grid.columns, -1).permute(0, 3, 2, 1),
            "right": right.view(grid.columns, grid.rows, -1, p).permute(0, 2, 1, 3),
        }
        for name, factor in factors.items():
            terms = factor.flatten(0, 1).contiguous()
            if bits == 8:
                terms = fake_quantize_dynamic(terms.flatten(1), 8, symmetric="restricted").view(
                    terms.shape
                )
            self.register_parameter(name, nn.Parameter(terms, requires_grad=False))
        rows, columns = order or (None, None)
        many_rows, many_columns = grid.rows > 1, grid.columns > 1
        self.register_buffer("places", rows.argsort() if rows is not None and many_rows else None)
        self.register_buffer("columns", columns if many_columns else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an input (..., in) to (..., out)."""
        grid, (s, p), n = self.grid, self.grid.block, x[..., 0].numel()
        if self.columns is not None:
            x = x[..., self.columns]
        blocks = x.reshape(n, grid.columns, p).transpose(0, 1)
        inner = torch.bmm(blocks, self.right.view(grid.columns, -1, p).mT)  # (k, n, rho l)
        inner = operand(inner.transpose(0, 1).reshape(n, -1), self.size.bits)
        regrouped = inner.view(n, grid.columns, -1, grid.rows).permute(3, 0, 2, 1)
        inner = regrouped.reshape(grid.rows, n, -1)
        outer = torch.bmm(inner, self.left.view(grid.rows, -1, s))  # (l, n, s)
        y = outer.transpose(0, 1).reshape(*x.shape[:-1], -1)
        return y if self.places is None else y[..., self.places]

    @property
    def order(self) -> Order | None:
        """The order of its blocks, if any."""
        places, columns, device = self.places, self.columns, self.left.device
        if places is None and columns is None:
            return None
        rows = torch.arange(self.grid.out, device=device) if places is None else places.argsort()
        return rows, torch.arange(self.grid.width, device=device) if columns is None else columns

    def dense(self) -> torch.Tensor:
        """Return the matrix (out, in)."""
        grid, (s, p) = self.grid, self.grid.block
        left = self.left.view(grid.rows, -1, grid.columns, s)
        right = self.right.view(grid.columns, -1, grid.rows, p)
        whole = torch.einsum("irja,jrib->iajb", left, right).reshape(grid.out, grid.width)
        whole = whole if self.places is None else whole[self.places]
        return whole if self.columns is None else whole[:, self.columns.argsort()]


@dataclass(frozen=True)
class BlockFit:
    """How blocks are fitted, to the layer called ``name`` in messages.

    With a ``moment`` (in, in), to the output error of each block on its own inputs: the sum over
    blocks, which for one column of blocks is the error of the layer and else leaves out what the
    blocks of one row share. ``order`` is cut into blocks. ``generator`` makes the SVD randomised.
    """

    moment: torch.Tensor | None = None
    order: Order | None = None
    generator: torch.Generator | None = None
    name: str = ""


def project(
    target: torch.Tensor, grid: BlockPartition, bits: int, fit: BlockFit | None = None
) -> BlockFactors:
    """Return the matrix of ``grid`` nearest to target (out, in): every block at its best rank.

    Nearest in squared error, unless ``fit`` has a moment.
    """
    fit = fit or BlockFit()
    (s, p), order, moved = grid.block, fit.order, target.double()
    moment = None if fit.moment is None else fit.moment.double()
    if order is not None:
        # A side that is one block has no order: none is stored for it, either.
        rows = order[0] if grid.rows > 1 else order[0].sort().values
        columns = order[1] if grid.columns > 1 else order[1].sort().values
        order, moved = (rows, columns), moved[rows][:, columns]
        moment = None if moment is None else moment[columns][:, columns]
    blocks = moved.view(grid.rows, s, grid.columns, p).transpose(1, 2)  # (l, k, s, p)
    measured = blocks
    if moment is not None:
        diagonal = [moment[at : at + p, at : at + p] for at in range(0, grid.width, p)]
        measured = blocks @ torch.stack([square_root(part, fit.name) for part in diagonal])
    basis = leading(measured, grid.kept, fit.generator)  # (l, k, s, rho)
    # With U the leading left vectors of A C, the best of A is U U^T A: C need not be inverted.
    right = basis.mT @ blocks
    spread = right.norm(dim=-1).sqrt()  # both factors equally large, for the sake of 8-bit grids
    right = right / spread.clamp(min=torch.finfo(right.dtype).tiny)[..., None]
    left = basis * spread[..., None, :]
    left = left.transpose(1, 2).reshape(grid.rows, s, -1).float()
    right = right.transpose(0, 1).reshape(grid.columns, -1, p).float()
    return BlockFactors(left, right, grid, bits, order)


def leading(
    matrix: torch.Tensor, rank: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Return the ``rank`` leading left singular vectors of matrix (..., s, p): (..., s, rank).

    With a ``generator``, of its randomised range (Halko, Martinsson, Tropp, arXiv 0909.4061), as
    good as exact where the singular values fall.
    """
    probes = rank + OVERSAMPLING
    if generator is None or probes >= min(matrix.shape[-2:]):
        return torch.linalg.svd(matrix, full_matrices=False).U[..., :rank]
    shape = (*matrix.shape[:-2], matrix.shape[-1], probes)
    drawn = torch.randn(shape, generator=generator, dtype=matrix.dtype).to(matrix.device)
    basis = torch.linalg.qr(matrix @ drawn).Q
    for _ in range(POWER_STEPS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.mT @ basis).Q).Q
    return basis @ torch.linalg.svd(basis.mT @ matrix, full_matrices=False).U[..., :rank]


def square_root(moment: torch.Tensor, name: str) -> torch.Tensor:
    """Return C (in, in) with ``C C^T`` the moment, float64, by Cholesky of its correlations.

    A millionth is added to their diagonal, and up to a thousandth where they are singular beyond
    that; a channel without input gets a row of zeros. Raises BenchError where that does not help.
    """
    deviation = moment.diagonal().clamp(min=0).sqrt()
    safe = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    correlation = moment / safe / safe[:, None]
    identity = torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    for jitter in _JITTERS:
        factor, failed = torch.linalg.cholesky_ex(correlation + jitter * identity)
        if not failed:
            return factor * deviation[:, None]
    raise BenchError(f"layer {name}: its moment is not positive definite")
