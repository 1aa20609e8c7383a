"""A randomised Hadamard rotation, which spreads outliers over all channels."""

import torch
from torch import nn

from mpqbench.contracts import LayerData, Operations, Transform, TransformSize, plugin
from mpqbench.core.errors import BenchError
from mpqbench.quant.hadamard import blocks_of, hadamard_product, paley, split_order


@plugin
class Hadamard(Transform):
    """``x D H`` with random signs D (QuaRot, arXiv 2404.00456; QuIP#, 2402.04396).

    Online, because the scale and shift of adaLN stand between the residual stream and the layer:
    the rotation cannot be folded into the stream. H has the order of the whole width where that is
    a power of two, or one times 12, 20, 28, 36, 44, 60, 68, 76 or 84; otherwise it is
    block-diagonal with the largest such order that divides the width. ``block`` chooses another.
    The weight is divided by the order, so that nothing online normalises the rotation.
    """

    block: int | None = None
    needs_activation_bits = False

    def __post_init__(self) -> None:
        if self.block is not None and split_order(self.block) is None:
            raise BenchError(
                f"block must be a power of two, or one times 12, 20, 28 or 36, not {self.block}"
            )

    def size(self, name: str, in_features: int) -> TransformSize:
        """Return the additions of the fast product, and a bit for each sign.

        Raises BenchError where ``block`` does not divide the width.
        """
        split = split_order(self._block(name, in_features))
        assert split is not None  # of a valid block
        power, order = split
        # A product with the small matrix, whose entries are signs, adds up ``order`` numbers.
        additions = power.bit_length() - 1 + (0 if order == 1 else order)
        return TransformSize(Operations(additions=additions * in_features), extra_bits=in_features)

    def _block(self, name: str, width: int) -> int:
        valid = blocks_of(width)
        block = valid[-1] if self.block is None else self.block
        if block not in valid:
            raise BenchError(
                f"layer {name}: block {block} does not divide its width {width}; "
                f"valid: {', '.join(map(str, valid))}"
            )
        return block

    def fit(self, weight: torch.Tensor, layer: LayerData) -> "Rotation":
        """Draw the signs of a rotation of weight (out, in) from ``layer.seed``.

        Raises BenchError where ``block`` does not divide ``in``.
        """
        width = weight.shape[1]
        block = self._block(layer.name, width)
        generator = torch.Generator().manual_seed(layer.seed)
        signs = 1.0 - 2.0 * torch.randint(2, (width,), generator=generator)
        return Rotation(signs, block).to(weight.device)


class Rotation(nn.Module):
    """Signs (in,), then a Hadamard matrix of order ``block`` on every block of channels.

    Inputs become ``sqrt(block)`` times as long as they were, and weights as much shorter.
    """

    signs: torch.Tensor
    small: torch.Tensor | None

    def __init__(self, signs: torch.Tensor, block: int) -> None:
        super().__init__()
        split = split_order(block)
        if split is None or signs.numel() % block:
            raise BenchError(f"no Hadamard blocks of {block} for a width of {signs.numel()}")
        self.block, (self.power, order) = block, split
        self.register_buffer("signs", signs)
        self.register_buffer("small", None if order == 1 else paley(order))

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Return weight (out, in) with its rows rotated and divided by the order of the matrix."""
        return self.input(weight) / self.block

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Return input (..., in), rotated along its last axis."""
        return hadamard_product(x, self.signs, self.power, self.small)
