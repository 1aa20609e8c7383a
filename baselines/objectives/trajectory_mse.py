"""The error after a few sampling steps."""

from __future__ import annotations

from mpqbench.contracts import plugin
from mpqbench.core.errors import BenchError

from .output_mse import OutputMSE


@plugin
class TrajectoryMSE(OutputMSE):
    """Mean squared difference of latents ``steps`` steps of the sampler later: joint.

    From each calibration input, a latent somewhere on full precision's way from noise to image,
    both models take the next ``steps`` steps of the protocol's sampler, or as many as are left
    (our choice: consecutive steps, as errors of one step go into the next one, from all parts of
    the way). Outputs are used without guidance. A score takes up to ``steps`` forwards.
    """

    steps: int = 3

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BenchError(f"steps must be at least 1, not {self.steps}")

    @property
    def steps_ahead(self) -> int:
        """How many sampling steps ``distance`` looks ahead."""
        return self.steps
