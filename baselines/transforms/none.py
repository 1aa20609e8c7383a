"""No change of basis."""

from dataclasses import dataclass

import torch

from mpqbench.contracts import LayerData, Transform, plugin


@dataclass(frozen=True)
class Identity:
    """The model's own basis."""

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Return weight (out, in) unchanged."""
        return weight

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Return input (..., in) unchanged."""
        return x


@plugin
class NoTransform(Transform):
    """Leaves the basis unchanged: the control of every transform."""

    needs_activation_bits = False

    def fit(self, weight: torch.Tensor, layer: LayerData) -> Identity:
        """Return the identity for every layer."""
        return Identity()
