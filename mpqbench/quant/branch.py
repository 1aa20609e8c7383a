"""The branch of a layer: how it is fitted and applied."""

from dataclasses import replace
from typing import Any

import torch

from ..contracts import Branch, FittedBranch, LayerData, QuantizedWeight, Rounding
from ..core.errors import BenchError
from .affine import fake_quantize_dynamic, straight_through
from .verify import expect_branch_size, of_layer


def round_beside(
    weight: torch.Tensor, data: LayerData, rounding: Rounding, branch: Branch
) -> tuple[QuantizedWeight, FittedBranch | None]:
    """Split weight W (out, in) into a rounded residual R and a branch L, fitted in turn.

    ``L = fit(W - R)`` and ``R = round(W - L)`` alternate (SVDQuant, arXiv 2411.05007) for at most
    ``branch.iterations`` rounds or until a round is no better, and the best pair is returned.
    ``L + R`` is compared by the output error where the layer has a moment, and else by the squared
    error. There is no branch where rounding alone loses nothing, which is tried first. Raises
    BenchError for fewer than one round and where the fitted branch has not the planned size.
    """
    bits = data.precision.weight
    assert bits is not None
    if branch.iterations < 1:
        raise BenchError(f"a branch is fitted in at least 1 iteration, not {branch.iterations}")
    alone = rounding.round(weight.clone(), lent(data), data.weight_format, bits)
    values = alone.dequantize()
    if torch.equal(values, weight) or not torch.isfinite(values).all():
        return alone, None  # the caller reports what is not finite
    best: tuple[QuantizedWeight, FittedBranch] | None = None
    least, target = float("inf"), weight - values if branch.init == "residual" else weight
    for _ in range(branch.iterations):
        given = target.clone(), lent(data)
        fitted = branch.refit(best[1], *given) if best else branch.fit(*given)
        dense = _checked(fitted, branch, target, data).dense()
        rounded = rounding.round(weight - dense, lent(data), data.weight_format, bits)
        values = rounded.dequantize()
        error = squared_error(dense + values - weight, data.moment)
        if best is not None and not error < least:
            break
        best, least, target = (rounded, fitted), error, weight - values
    assert best is not None
    return best


def branch_of_rest(
    weight: torch.Tensor, data: LayerData, rounded: QuantizedWeight, branch: Branch
) -> FittedBranch | None:
    """Fit a branch to what a rounding lost of weight (out, in), without rounding again.

    For a rounding of whole blocks, which has seen all layers together. ``None`` where nothing was
    lost, or where something is not finite, which the caller reports.
    """
    rest = weight - rounded.dequantize()
    if not rest.any() or not rest.isfinite().all():
        return None
    return _checked(branch.fit(rest, lent(data)), branch, rest, data)


def lent(data: LayerData) -> LayerData:
    """Return ``data`` with copies of its tensors, which a plugin may write into."""
    copies: dict[str, Any] = {
        name: value.clone() for name, value in vars(data).items() if isinstance(value, torch.Tensor)
    }
    return replace(data, **copies)


def squared_error(difference: torch.Tensor, moment: torch.Tensor | None) -> float:
    """Return ``sum d^2`` of a difference d (out, in), or ``sum d M d^T`` with a moment M."""
    d = difference.double()
    return float((d * (d if moment is None else d @ moment.double())).sum())


def applied(branch: FittedBranch, x: torch.Tensor) -> torch.Tensor:
    """Apply ``branch`` to an input (..., in) float32 in the transform's basis: (..., out)."""
    return branch(operand(x, branch.size.bits))


def operand(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Return ``x`` (..., channels) as a product of a branch at ``bits`` reads it.

    At 8 bits it is quantized per token, asymmetric, straight-through for gradients.
    """
    if bits != 8:
        return x
    return straight_through(lambda y: fake_quantize_dynamic(y, bits, symmetric=False), x)


def _checked(
    fitted: FittedBranch, branch: Branch, target: torch.Tensor, data: LayerData
) -> FittedBranch:
    with of_layer(data.name):
        expect_branch_size(fitted, branch.size(*target.shape))
    return fitted
