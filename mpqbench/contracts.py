"""What a plugin author implements. Nothing else of mpqbench is needed to write one.

A plugin is a frozen dataclass whose fields are its parameters; it stores nothing else and does
its work in one method. Register it in a module's ``PLUGINS`` table (see ``mpqbench.registry``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .formats import WeightFormat
from .precision import Allocation, Budget, Precision

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class LayerData:
    """What a plugin may know of the linear layer it works on.

    ``inputs`` are rows (n, in_features) float32 that the layer saw in calibration, or ``None``
    where the plugin did not set ``needs_inputs = True``. ``seed`` is the plugin's own.
    """

    name: str
    in_features: int
    out_features: int
    inputs: torch.Tensor | None = None
    seed: int = 0


class FittedTransform(Protocol):
    """A change of basis that leaves ``input(x) @ weight(W).T`` equal to ``x @ W.T``."""

    macs_per_token: int
    extra_bits: int

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight (out, in) in the new basis; done once."""
        ...

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Input (..., in) in the new basis; done in every forward."""
        ...


class Transform(Protocol):
    """Finds a change of basis for one layer before rounding."""

    needs_inputs: bool = False

    def fit(self, weight: torch.Tensor, layer: LayerData) -> FittedTransform:
        """The basis for weight (out, in)."""
        ...


@dataclass(frozen=True)
class QuantizedWeight:
    """Integers and the grid they live on.

    ``integers`` (out, in) int16; ``scale`` and ``zero`` (out or 1, groups) float32, where
    ``groups`` divides ``in``. The value is ``scale * (integers - zero)``.
    """

    integers: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor
    bits: int

    def dequantize(self) -> torch.Tensor:
        """Float weight (out, in)."""
        rows, columns = self.integers.shape
        blocks = self.integers.reshape(rows, self.scale.shape[1], -1).to(self.scale.dtype)
        values = self.scale[..., None] * (blocks - self.zero[..., None])
        return values.reshape(rows, columns)


class Rounding(Protocol):
    """Turns a weight matrix into integers on a grid."""

    needs_inputs: bool = False

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Integers for weight (out, in) at ``bits`` in format ``fmt``."""
        ...


class SearchProblem(Protocol):
    """All a searcher can see: it cannot reach the model, so every searcher is counted alike."""

    groups: Sequence[str]
    budget: Budget
    rng: np.random.Generator
    spent: float  # evaluations so far, in full forwards of the calibration set

    def choices(self, group: str) -> Sequence[Precision]:
        """Precisions that ``group`` may take."""
        ...

    def cost(self, allocation: Mapping[str, Precision]) -> float:
        """BitOPs of the searchable groups under ``allocation``."""
        ...

    def limit(self) -> float:
        """The budget in the unit of ``cost``."""
        ...


class Searcher(Protocol):
    """Finds an allocation within the budget."""

    def search(self, problem: SearchProblem) -> Allocation:
        """An allocation for every group. Raises Infeasible where none meets the budget."""
        ...
