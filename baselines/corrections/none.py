"""No correction: the sampler uses the prediction of the quantized model."""

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
        """Raise BenchError: without images nothing is fitted."""
        raise BenchError("correction 'none' cannot be fitted")
