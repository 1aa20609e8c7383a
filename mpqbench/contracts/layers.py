"""Contracts of plugins that work on one layer: transforms, roundings and branches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from ..core.errors import BenchError
from ..core.formats import PER_CHANNEL, PER_TOKEN, ActivationFormat, WeightFormat
from ..core.precision import FULL, Precision
from .base import Plugin

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerData:
    """What a plugin may know of the linear layer it works on.

    ``precision`` and the two formats are what the layer is about to get. Without ``needs_inputs``
    the calibration data are ``None``:

    - ``inputs`` (n, in) float32: a fixed sample of rows, and ``times`` (n,) the time step of each;
    - ``moment`` (in, in) float32: the mean of ``x x^T`` over *all* calibration rows x (half of the
      Hessian of GPTQ, arXiv 2210.17323, divided by the number of rows);
    - ``step_maxima`` (steps, in) float32: the largest ``|x|`` of each channel at each time step,
      and ``steps`` (steps,) these time steps, the noisiest first.

    They are in the layer's own basis for a transform, in that of the transform for a rounding.
    """

    name: str
    in_features: int
    out_features: int
    inputs: torch.Tensor | None = None
    seed: int = 0
    times: torch.Tensor | None = None
    moment: torch.Tensor | None = None
    step_maxima: torch.Tensor | None = None
    steps: torch.Tensor | None = None
    precision: Precision = FULL
    weight_format: WeightFormat = PER_CHANNEL
    activation_format: ActivationFormat = PER_TOKEN


@dataclass(frozen=True)
class Operations:
    """Arithmetic that inference executes: what a plugin reports, and the harness prices.

    ``multiplications``, each with or without an addition behind it, and ``additions`` alone
    (subtractions and comparisons too), all of numbers of ``bits``. Moving numbers and changing
    their signs counts nothing.
    """

    multiplications: int = 0
    additions: int = 0
    bits: int = 16

    @property
    def bitops(self) -> int:
        """The price in BitOPs: ``bits`` squared for a multiplication, ``bits`` for an addition."""
        return (self.multiplications * self.bits + self.additions) * self.bits


NO_OPERATIONS = Operations()


@dataclass(frozen=True)
class TransformSize:
    """What a transform executes for one row of the input, and stores, known before it is fitted.

    ``extra_bits`` is everything that is stored.
    """

    rotation: Operations = NO_OPERATIONS
    smoothing: Operations = NO_OPERATIONS
    extra_bits: int = 0


class FittedTransform(Protocol):
    """A linear change of basis that leaves ``input(x) @ weight(W).T`` equal to ``x @ W.T``."""

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Move a weight (out, in) into the new basis; done once."""

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Move an input (..., in) into the new basis; done in every forward.

        Return ``x`` itself or a new tensor, which the harness may overwrite.
        """


class Transform(Plugin, ABC):
    """Finds a change of basis before rounding.

    Without ``needs_activation_bits`` a fit depends neither on the bits of the input nor on their
    format, and a search fits once for all precisions of one number of weight bits.
    """

    kind: ClassVar[str] = "transform"
    needs_inputs: bool = False
    needs_activation_bits: bool = True

    def size(self, name: str, in_features: int) -> TransformSize:
        """Return what a transform of a group's input costs; nothing by default.

        ``name`` is that of the group, like ``blocks.3.mlp.down``.
        """
        return TransformSize()

    @abstractmethod
    def fit(self, weight: torch.Tensor, layer: LayerData) -> FittedTransform:
        """Fit the basis to a weight (out, in): the stacked layers that read one input."""


@dataclass(frozen=True)
class QuantizedWeight:
    """Integers of a weight with their quantization parameters.

    ``integers`` (out, in) int16; ``scale`` and ``zero`` (out or 1, groups) float32, where
    ``groups`` divides ``in``. The value is ``scale * (integers - zero)``.
    """

    integers: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor
    bits: int

    def dequantize(self) -> torch.Tensor:
        """Return the float weight (out, in)."""
        rows, columns = self.integers.shape
        blocks = self.integers.reshape(rows, self.scale.shape[1], -1).to(self.scale.dtype)
        values = self.scale[..., None] * (blocks - self.zero[..., None])
        return values.reshape(rows, columns)


@dataclass(frozen=True)
class BlockData:
    """A transformer block whose layers are rounded together.

    ``weights`` (out, in) in the basis of the transform, ``layers`` and ``bits`` are by layer path.
    ``targets`` (n, tokens, width) float32 is the full-precision block's output. ``forward(weights,
    indices)`` computes the output (k, tokens, width) on the inputs at ``indices`` (k,), activations
    quantized as they will be, and is differentiable in ``weights``.
    """

    name: str
    weights: Mapping[str, torch.Tensor]
    layers: Mapping[str, LayerData]
    bits: Mapping[str, int]
    targets: torch.Tensor
    forward: Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]
    seed: int = 0


class Rounding(Plugin, ABC):
    """Turns a weight matrix into integers.

    With ``by_block`` the harness calls ``round_block`` for the layers of a block together, and
    ``round`` for layers outside a block and in a search. Conformance checks allow a squared error
    of ``error_bound`` times that of rounding to nearest on ordinary layers.
    """

    kind: ClassVar[str] = "rounding"
    needs_inputs: bool = False
    by_block: bool = False
    error_bound: float = 1.05

    @abstractmethod
    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Round a weight (out, in) to ``bits`` in format ``fmt``."""

    def round_block(self, block: BlockData, fmt: WeightFormat) -> Mapping[str, QuantizedWeight]:
        """Round every layer of ``block.weights``; needed with ``by_block`` alone."""
        raise BenchError(f"{type(self).__name__} rounds no whole blocks")


@dataclass(frozen=True)
class BranchSize:
    """The size of a branch, known from the shape of its layer before anything is fitted.

    ``numbers`` are the stored values, at ``bits`` (8 or 16) each; ``multiplications`` those of one
    row, both operands at ``bits``, and ``additions`` those alone; ``between`` the numbers of one
    row that pass from one product to the next; ``extra_bits`` everything else that is stored:
    scales (16 bits each), indices, permutations.
    """

    numbers: int
    multiplications: int
    bits: int = 16
    extra_bits: int = 0
    additions: int = 0
    between: int = 0

    @property
    def operations(self) -> Operations:
        """What one row executes, without the quantization of its numbers."""
        return Operations(self.multiplications, self.additions, self.bits)

    @property
    def stored_bits(self) -> int:
        """All that the branch stores, in bits."""
        return self.numbers * self.bits + self.extra_bits


class FittedBranch(Protocol):
    """An ``nn.Module`` of a structured matrix M (out, in), applied as products that never build M.

    At 8 bits its numbers lie on 8-bit grids, the harness quantizes its input to 8 bits per token,
    and intermediate results between its products have 8 bits too.
    """

    size: BranchSize

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map an input (..., in) to ``x @ M.T`` (..., out)."""

    def dense(self) -> torch.Tensor:
        """Return M (out, in) float32."""


class Branch(Plugin, ABC):
    """A small path beside the rounded weight: ``W x ~ Q(W - M) Q(x) + M x``.

    The harness fits M and rounds ``W - M`` in turn for up to ``iterations`` rounds, beginning with
    ``init``: "weight", or "residual" for what rounding the weight alone lost. With ``shared`` one
    branch is fitted to the stacked weights of the layers that read one input, and counted once; its
    size is that of the stacked shape.
    """

    kind: ClassVar[str] = "branch"
    shared: bool = False
    iterations: int = 1
    init: str = "weight"

    @property
    def needs_inputs(self) -> bool:
        """Whether ``fit`` needs calibration data."""
        return False

    @abstractmethod
    def size(self, out_features: int, in_features: int) -> BranchSize | None:
        """Return the size of a layer's branch; ``None`` for no branch there."""

    @abstractmethod
    def fit(self, target: torch.Tensor, layer: LayerData) -> FittedBranch:
        """Fit the best approximation of target (out, in); of zero, zero.

        ``layer`` has ``inputs``, ``times`` and ``moment`` in the basis of ``target``.
        """

    def refit(self, before: FittedBranch, target: torch.Tensor, layer: LayerData) -> FittedBranch:
        """Fit again from the second round on; override where a decision of ``fit`` has to stay."""
        return self.fit(target, layer)
