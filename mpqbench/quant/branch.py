"""The branch of a layer: where there is one, how it is fitted, what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..contracts import Branch, BranchSize, FittedBranch, LayerData, QuantizedWeight, Rounding
from ..core.errors import BenchError
from ..cost.count import Operator
from ..cost.storage import packed_bytes
from ..dit.groups import Group, linear_layer
from .affine import fake_quantize_dynamic, straight_through
from .verify import BITS, expect_branch_size, of_layer


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


def branch_size(branch: Branch | None, group: Group, out: int, width: int) -> BranchSize | None:
    """Return the size of the branch of a layer (out, width) of ``group``, if the weight is rounded.

    The layers of adaLN get none (SVDQuant leaves them out too): in a DiT they hold a third of the
    weights and hardly any of the error. Raises BenchError for bits other than 8 and 16.
    """
    size = None if branch is None or not group.searchable else branch.size(out, width)
    if size is not None and size.bits not in BITS:
        raise BenchError(f"a branch has 8 or 16 bits, not {size.bits}")
    return size


def shares_branch(branch: Branch | None, group: Group) -> bool:
    """Return whether the layers of ``group`` have one branch together."""
    return branch is not None and branch.shared and len(group.layers) > 1


def branch_operator(path: str, group: Group, size: BranchSize) -> Operator:
    """Return the branch of the layer at ``path``, or of all of a group, as the cost counts it."""
    return Operator(
        f"{path}.branch",
        "branch",
        size.macs_per_token * group.tokens,
        weight_bits=size.bits,
        activation_bits=size.bits,
        weights=size.numbers,
        scale_bytes=packed_bytes(size.extra_bits, 1),
    )


def branch_operators(
    branch: Branch | None, transformer: nn.Module, groups: Sequence[Group]
) -> Mapping[str, Sequence[Operator]]:
    """Return the branches of every searchable group at any rounded precision, before any fit.

    The meta device is enough.
    """
    found: dict[str, list[Operator]] = {group.name: [] for group in groups if group.searchable}
    for group in groups:
        linears = {path: linear_layer(transformer, path) for path in group.layers}
        if shares_branch(branch, group):
            out = sum(layer.out_features for layer in linears.values())
            size = branch_size(branch, group, out, linears[group.layers[0]].in_features)
            if size is not None:
                found[group.name].append(branch_operator(group.name, group, size))
            continue
        for path, layer in linears.items():
            size = branch_size(branch, group, layer.out_features, layer.in_features)
            if size is not None:
                found[group.name].append(branch_operator(path, group, size))
    return found


def share_of(branches: Mapping[str, Sequence[Operator]]) -> str:
    """Say what branches by group take of a budget, as the end of a sentence; "" without any."""
    operators = [op for group in branches.values() for op in group]
    if not operators:
        return ""
    return (
        f"; the branches alone take {sum(op.bitops for op in operators):,} BitOPs and "
        f"{sum(op.bytes for op in operators):,} bytes of it: make them smaller, offer choices "
        "without them, like W2A2-, or leave them out of the budget with branch_in_budget: false"
    )


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
