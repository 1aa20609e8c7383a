"""A sparse branch: the largest entries, kept as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from mpqbench.contracts import BranchSize, plugin
from mpqbench.core.errors import BenchError, check_whole
from mpqbench.quant.affine import fake_quantize_dynamic
from mpqbench.quant.branch_settings import DEFAULT_RANK, BranchSettings, one_size
from mpqbench.quant.factors import SCALE_BITS, bits_of_rank

if TYPE_CHECKING:
    from mpqbench.contracts import LayerData


class Entries(nn.Module):
    """Values (n,) at places (2, n), row and column, of a matrix of zeros ``shape`` = (out, in)."""

    places: torch.Tensor

    def __init__(
        self,
        values: torch.Tensor,
        places: torch.Tensor,
        shape: tuple[int, int],
        size: BranchSize,
    ) -> None:
        super().__init__()
        self.shape, self.size = shape, size
        if size.bits == 8:
            values = fake_quantize_dynamic(values, 8, symmetric=True)
        self.values = nn.Parameter(values, requires_grad=False)
        self.register_buffer("places", places)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input (..., in) to (..., out): one multiplication for each value, in float32.

        A sparse product is not among those that autocast knows how to convert.
        """
        rows = x.reshape(-1, x.shape[-1]).to(self.values.dtype)
        with torch.autocast(x.device.type, enabled=False):
            product = torch.sparse.mm(self._matrix(), rows.T).T
        return product.reshape(*x.shape[:-1], -1).to(x.dtype)

    def dense(self) -> torch.Tensor:
        """The matrix (out, in)."""
        return self._matrix().to_dense()

    def _matrix(self) -> torch.Tensor:
        return torch.sparse_coo_tensor(
            self.places, self.values, self.shape, is_coalesced=True, check_invariants=False
        )


@plugin
class Sparse(BranchSettings):
    """The entries of largest magnitude, or with ``weighted`` of largest magnitude times the root
    mean square of their input (which ignores that inputs correlate).

    Stored by row: the values, a column index for each and how many each row has; at 8 bits one
    scale for all. As many as ``density`` of the layer's weights, or as fit in the bytes of a low
    rank of ``like_rank`` (4 unless given) at the same bits. In hardware a sparse product is slower
    than its count says; the count is in its favour. The plain control of structured branches.
    """

    init: str = "residual"
    density: float | None = None
    like_rank: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_size(density=self.density, like_rank=self.like_rank)
        if self.density is not None and not 0 < self.density <= 1:
            raise BenchError(f"density lies above 0 and is at most 1, not {self.density}")
        if self.like_rank is not None:
            check_whole("like_rank", self.like_rank)

    def size(self, out_features: int, in_features: int) -> BranchSize | None:
        """``None`` where not one value has room."""
        fixed = out_features * in_features.bit_length()  # how many a row has, 0 to in
        fixed += SCALE_BITS if self.bits == 8 else 0
        index = (in_features - 1).bit_length()
        if self.density is not None:
            count = max(1, round(self.density * out_features * in_features))
        else:
            rank = self.like_rank or DEFAULT_RANK
            room = bits_of_rank(out_features, in_features, rank, self.bits) - fixed
            count = min(room // (self.bits + index), out_features * in_features)
        return BranchSize(count, count, self.bits, fixed + count * index) if count > 0 else None

    def fit(self, target: torch.Tensor, layer: LayerData) -> Entries:
        """The largest entries of target (out, in). Raises BenchError where none has room."""
        size = self.size(*target.shape)
        if size is None:
            raise BenchError(f"layer {layer.name}: it has no room for a sparse branch")
        magnitude, moment = target.double().abs(), self.moment(layer)
        if moment is not None:
            magnitude *= moment.double().diagonal().clamp(min=0).sqrt()
        order = magnitude.flatten().argsort(descending=True, stable=True)
        chosen = order[: size.numbers].sort().values
        places = torch.stack([chosen // target.shape[1], chosen % target.shape[1]])
        values = target.flatten()[chosen].float()
        return Entries(values, places, (target.shape[0], target.shape[1]), size)
