"""The error of the network's output."""

import torch

from mpqbench.contracts import Objective, plugin


@plugin
class OutputMSE(Objective):
    """Mean squared difference to full precision's output: joint, so it sees interactions."""

    def distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return (candidates, n) from outputs (candidates, n, c, h, w), targets (n, c, h, w)."""
        return (outputs.double() - targets.double()).square().flatten(2).mean(2)
