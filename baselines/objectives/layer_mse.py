"""The error of each group's own output."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mpqbench.contracts import Network, Objective, plugin


@plugin
class LayerError(Objective):
    """Squared error of a group's output on full precision's inputs: local, one pass for all.

    ``scale``: "absolute" is the mean squared error; "relative" divides it by the mean square of
    the output, the inverse of the signal-to-quantization-noise ratio; "decibel" is minus that ratio
    in dB (MixDQ's quality metric, arXiv 2405.17873), whose sum rewards ratios and not amounts.
    """

    scale: Literal["absolute", "relative", "decibel"] = "absolute"

    def table_price(self, shares: Mapping[str, float], choices: Mapping[str, int]) -> float:
        """Return all groups before each one, and its layers exact and at each choice."""
        order, parts = list(shares), list(shares.values())
        before = sum(sum(parts[: order.index(name)]) for name in choices)
        return before + sum((1 + k) * shares[name] for name, k in choices.items())

    def table(self, network: Network) -> Mapping[str, Sequence[float]]:
        """Return scores of every choice of every group."""
        return {name: self._scores(network, name) for name in network.groups}

    def _scores(self, network: Network, name: str) -> Sequence[float]:
        import numpy as np

        group, choices = network.group(name), network.choices(name)
        noise, signal, count = np.zeros(len(choices)), 0.0, 0
        for x in network.inputs(name):
            exact = group.full(x).double()
            signal, count = signal + float(exact.square().sum()), count + exact.numel()
            for index, precision in enumerate(choices):
                difference = group.at(precision)(x).double() - exact
                noise[index] += float(difference.square().sum())
        if self.scale == "absolute":
            return list(noise / count)
        tiny = np.finfo(float).tiny
        relative = noise / max(signal, tiny)
        return list(10 * np.log10(relative + tiny) if self.scale == "decibel" else relative)
