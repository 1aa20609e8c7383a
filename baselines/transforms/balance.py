"""PTQ4DiT: channels of input and weight balanced over weighted time steps."""

import numpy as np
import torch
from scipy.stats import rankdata

from mpqbench.contracts import LayerData, TransformSize, plugin

from .none import Identity
from .scaling import Scaling, ScalingTransform, step_maxima


@plugin
class Balance(ScalingTransform):
    """``B = sqrt(sX / sW)``, ``X / B`` and ``W * B`` (arXiv 2405.16005, sections 4.1 and 4.2).

    The salience of a weight column is ``sW_j = max_i|W_ij|``; that of an input channel the mean of
    its maxima at each time step, weighted by ``softmax(-rho)``, where rho is Spearman's correlation
    between the step's maxima and sW: steps whose large channels meet small weights count more.
    Balanced, both saliences are ``sqrt(sX sW)``.

    ``skip`` lists kinds of groups that keep their basis: by default those that the paper does not
    balance. A kind is the end of a group's name, as in ``blocks.3.mlp.down``.
    """

    skip: tuple[str, ...] = ("mlp.down", "context.down", "single.out", "adaln")
    needs_inputs = True
    needs_activation_bits = False

    def size(self, name: str, in_features: int) -> TransformSize:
        """Return the size of a scaling, nothing for a kind of group that is skipped."""
        return TransformSize() if self._skips(name) else super().size(name, in_features)

    def fit(self, weight: torch.Tensor, layer: LayerData) -> Scaling | Identity:
        """Fit scales to weight (out, in). Raises BenchError where calibration is missing."""
        if self._skips(layer.name):
            return Identity()
        of_steps, of_weight = step_maxima(layer), weight.abs().amax(0)
        rho = rank_correlation(of_steps.cpu().numpy(), of_weight.cpu().numpy())
        shares = torch.softmax(-torch.from_numpy(rho), 0).to(of_steps)
        return Scaling(((shares @ of_steps) / of_weight).sqrt())

    def _skips(self, name: str) -> bool:
        return any(f".{name}".endswith(f".{kind}") for kind in self.skip)


def rank_correlation(rows: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return Spearman's rho (steps,) of each of ``rows`` (steps, in) with ``column`` (in,).

    Ties share their mean rank. Where either side is constant rho is undefined and given as 0, no
    correlation (our choice).
    """
    ranks, other = rankdata(rows, axis=1), rankdata(column)
    ranks, other = ranks - ranks.mean(1, keepdims=True), other - other.mean()
    norms = np.linalg.norm(ranks, axis=1) * np.linalg.norm(other)
    return np.divide(ranks @ other, norms, out=np.zeros_like(norms), where=norms > 0)
