"""No correction: the sampler goes on with what the quantized model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpqbench.contracts import Correction, plugin
from mpqbench.core.errors import BenchError

if TYPE_CHECKING:
    from mpqbench.contracts import CorrectionStep, FittedCorrection


@plugin
class NoCorrection(Correction):
    """Corrects nothing."""

    images = 0

    def fit(self, step: CorrectionStep) -> FittedCorrection:
        """Raises BenchError: what asks for no image is not fitted."""
        raise BenchError("correction 'none' cannot be fitted")
