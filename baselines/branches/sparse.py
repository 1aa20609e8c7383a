"""A sparse branch: the largest entries, kept as they are."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import nn

from mpqbench.contracts import BranchSize, LayerData, plugin
from mpqbench.core.errors import BenchError
from mpqbench.quant.affine import fake_quantize_dynamic
from mpqbench.quant.branch_settings import DEFAULT_RANK, BranchSettings, Share, one_size
from mpqbench.quant.factors import SCALE_BITS, bits_of_rank


class Entries(nn.Module):
    """Values (n,) at places (2, n), row and column, of a matrix (out, in) of zeros."""

    places: torch.Tensor

    def __init__(
        self, values: torch.Tensor, places: torch.Tensor, shape: torch.Size, size: BranchSize
    ) -> None:
        super().__init__()
        self.shape, self.size = shape, size
        if size.bits == 8:
            values = fake_quantize_dynamic(values, 8, symmetric="restricted")
        self.values = nn.Parameter(values, requires_grad=False)
        self.register_buffer("places", places)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map input (..., in) to (..., out), with one multiplication for each value."""
        rows = x.reshape(-1, x.shape[-1]).to(self.values.dtype)
        with torch.autocast(x.device.type, enabled=False):  # autocast converts no sparse product
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

    init: Literal["weight", "residual"] = "residual"
    density: Share | None = None
    like_rank: PositiveInt | None = None

    def __post_init__(self) -> None:
        one_size(density=self.density, like_rank=self.like_rank)

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
        return Entries(target.flatten()[chosen].float(), places, target.shape, size)
