"""How far the distribution of latents has moved after some sampling steps."""

import torch
from pydantic import PositiveInt

from mpqbench.contracts import plugin

from .trajectory_mse import TrajectoryMSE


@plugin
class TrajectoryFrechet(TrajectoryMSE):
    """Frechet distance of latents ``steps`` steps later, taken as independent Gaussians: joint.

    For every latent variable, over the inputs of a batch, ``(difference of means)^2 + (difference
    of standard deviations)^2``, averaged over variables (our choice: FD compares means and spreads
    of features, and errors of single samples only as far as they move these). A squared error
    cannot tell an error that differs from sample to sample, and averages out, from an error that
    all samples share. By default all remaining steps are taken; a batch should have dozens of
    inputs. There is no table: the effect of one group alone on a distribution is below its noise.
    """

    joint_only = whole_batches = True
    steps: PositiveInt = 20

    def distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return (candidates, n), the same for all n inputs of the batch."""
        given, wanted = outputs.double(), targets.double()
        means = given.mean(1) - wanted.mean(0)
        spreads = given.std(1, correction=0) - wanted.std(0, correction=0)
        distance = (means.square() + spreads.square()).flatten(1).mean(1)
        return distance[:, None].expand(-1, outputs.shape[1])
