"""Weight errors weighted by the trace of the Hessian, as HAWQ does."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from mpqbench.contracts import Network, Objective, plugin


@plugin
class HessianTrace(Objective):
    """``Tr(H) / p * |W_q - W|^2`` for a group of p weights (HAWQ-V2, arXiv 1911.03852).

    H is the Gauss-Newton matrix of the output error, whose trace ``probes`` random projections
    estimate without bias: the squared norm of the gradient of ``<v, output>`` by the weights is
    ``v^T J J^T v`` (Hutchinson's estimator with v on the side of the outputs). Weights only: the
    activation bits of a choice do not change its score.
    """

    probes: Annotated[int, Field(ge=2)] = 8  # two at least, for the variance
    seed: int = 0

    def traces(self, network: Network) -> Mapping[str, tuple[float, float]]:
        """Return the estimated trace per input and its standard error, by group."""
        samples: dict[str, list[float]] = {name: [] for name in network.groups}
        for found in network.sensitivities(self.probes, self.seed):
            for one in found:
                # Inputs are independent: the gradient by the weight is taken for each of them.
                by_weight = torch.einsum("nto,nti->noi", one.gradient, one.inputs.float())
                norms = by_weight.double().square().sum((1, 2))
                samples[one.group].append(float(norms.mean()))
        return {
            name: (float(np.mean(norms)), float(np.std(norms, ddof=1) / np.sqrt(len(norms))))
            for name, norms in samples.items()
        }

    def table_price(self, shares: Mapping[str, float], choices: Mapping[str, int]) -> float:
        """Return three forwards a probe: one, and a backward pass."""
        return 3.0 * self.probes

    def table(self, network: Network) -> Mapping[str, Sequence[float]]:
        """Return scores of every choice of every group."""
        traces = self.traces(network)
        return {name: self._scores(network, name, traces[name][0]) for name in network.groups}

    def _scores(self, network: Network, name: str, trace: float) -> Sequence[float]:
        scores = []
        for precision in network.choices(name):
            quantized = network.group(name).at(precision)
            moved = (quantized.weight.double() - quantized.unrounded_weight.double()).square().sum()
            scores.append(trace / quantized.weight.numel() * float(moved))
        return scores
