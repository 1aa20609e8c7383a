"""The error after a few sampling steps."""

from pydantic import PositiveInt

from mpqbench.contracts import plugin

from .output_mse import OutputMSE


@plugin
class TrajectoryMSE(OutputMSE):
    """Mean squared difference of latents ``steps`` steps of the sampler later: joint.

    From each calibration input, a latent somewhere on full precision's trajectory, both models take
    the next ``steps`` steps of the protocol's sampler, or as many as are left (our choice: steps
    are consecutive, as errors of one step go into the next one, and start anywhere on the
    trajectory). Outputs are used without guidance. A score takes up to ``steps`` forwards.
    """

    steps: PositiveInt = 3

    @property
    def steps_ahead(self) -> int:
        """Number of sampling steps that ``distance`` looks ahead."""
        return self.steps
