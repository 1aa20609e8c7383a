"""The error of the network's output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpqbench.contracts import Objective, plugin

if TYPE_CHECKING:
    import torch


@plugin
class OutputMSE(Objective):
    """Mean squared difference to full precision's output: joint, so it sees interactions."""

    def distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return (candidates, n) from outputs (candidates, n, c, h, w), targets (n, c, h, w)."""
        return (outputs.double() - targets.double()).square().flatten(2).mean(2)
