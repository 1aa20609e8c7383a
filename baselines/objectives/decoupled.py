"""A table with one metric for each of two parts, and joint scores."""

from collections.abc import Mapping, Sequence

from pydantic import PositiveInt

from mpqbench.contracts import Network, plugin
from mpqbench.core.errors import BenchError

from .fisher import Fisher
from .layer_mse import LayerError
from .output_mse import OutputMSE


@plugin
class Decoupled(OutputMSE):
    """Two parts of the network, each with a metric of its own.

    After MixDQ's metric-decoupled search (arXiv 2405.17873). Groups of the kinds in ``content`` are
    scored by ``fisher`` with ``probes``: their effect on the network's output stands for the
    paper's structural similarity of images (our choice, as an objective sees no images). The others
    are scored by the ratio of noise to signal in dB, as in the paper. Scores of the two parts do
    not add up: take a searcher that keeps them apart, such as ``ilp`` with a ``split`` of the same
    kinds. Joint scores are those of ``output-mse``.
    """

    content: Sequence[str] = ("attn.qkv", "attn.out")
    probes: PositiveInt = 4

    def table_price(self, shares: Mapping[str, float], choices: Mapping[str, int]) -> float:
        """Return the price of both tables."""
        parts = (Fisher(self.probes), LayerError("decibel"))
        return sum(part.table_price(shares, choices) for part in parts)

    def table(self, network: Network) -> Mapping[str, Sequence[float]]:
        """Return scores of every choice of every group."""
        endings = tuple(f".{kind}" for kind in self.content)
        first = [name for name in network.groups if name.endswith(endings)]
        if not first:
            raise BenchError(f"no group is of content: {', '.join(self.content)}")
        content = Fisher(self.probes).table(network)
        quality = LayerError("decibel").table(network)
        return {name: (content if name in first else quality)[name] for name in network.groups}
