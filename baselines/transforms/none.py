"""No change of basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpqbench.contracts import Transform, plugin

if TYPE_CHECKING:
    import torch

    from mpqbench.contracts import LayerData


@dataclass(frozen=True)
class Identity:
    """The basis the model came in."""

    macs_per_token: int = 0
    extra_bits: int = 0

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight (out, in) as it is."""
        return weight

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Input (..., in) as it is."""
        return x


@plugin
class NoTransform(Transform):
    """Leaves the basis alone: the control of every transform."""

    needs_inputs = False

    def fit(self, weight: torch.Tensor, layer: LayerData) -> Identity:
        """The same for every layer."""
        return Identity()
