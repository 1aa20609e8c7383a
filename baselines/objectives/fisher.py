"""Output errors weighted by squared gradients, as ModelOpt's AutoQuantize does."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import PositiveInt

from mpqbench.contracts import Network, Objective, plugin


@plugin
class Fisher(Objective):
    """``sum g^2 (y - y_q)^2`` over a group's outputs, g the gradient of the network's output.

    A distillation loss has no gradient at the teacher, so g is that of ``probes`` random
    projections of the output: the mean of g^2 is then the diagonal of the Gauss-Newton matrix of
    the output error (our choice; ModelOpt takes the gradient of a task loss). Divided by the
    number of network outputs, so that it estimates the output error of ``output-mse``.
    """

    probes: PositiveInt = 4
    seed: int = 0

    def table_price(self, shares: Mapping[str, float], choices: Mapping[str, int]) -> float:
        """Return three forwards a probe, and every layer exact and at each choice."""
        return self.probes * (3 + sum((1 + k) * shares[name] for name, k in choices.items()))

    def table(self, network: Network) -> Mapping[str, Sequence[float]]:
        """Return scores of every choice of every group."""
        totals = {name: np.zeros(len(network.choices(name))) for name in network.groups}
        outputs = 0
        for found in network.sensitivities(self.probes, self.seed):
            for one in found:
                group = network.group(one.group)
                exact, weight = group.full(one.inputs), one.gradient.square()
                for index, precision in enumerate(network.choices(one.group)):
                    error = (group.at(precision)(one.inputs) - exact).square()
                    totals[one.group][index] += float((weight * error).double().sum())
            outputs += found[0].outputs
        return {name: list(total / outputs) for name, total in totals.items()}
