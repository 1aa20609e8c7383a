"""No correction: the sampler uses the prediction of the quantized model."""

from mpqbench.contracts import Correction, CorrectionStep, FittedCorrection, plugin
from mpqbench.core.errors import BenchError


@plugin
class NoCorrection(Correction):
    """Corrects nothing."""

    images = 0

    def fit(self, step: CorrectionStep) -> FittedCorrection:
        """Raise BenchError: without images nothing is fitted."""
        raise BenchError("correction 'none' cannot be fitted")
