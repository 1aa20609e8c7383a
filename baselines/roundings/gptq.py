"""GPTQ: rounding column by column, each error compensated by the columns that follow."""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt

from mpqbench.contracts import LayerData, QuantizedWeight, Rounding, plugin
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import QParams, dequantize, pack, quantize, weight_rows
from mpqbench.quant.clipping import weight_qparams

_RAISES = 3  # times the damping grows tenfold before giving up


@plugin
class GPTQ(Rounding):
    """GPTQ (arXiv 2210.17323) in the equivalent form of QuIP (arXiv 2307.13304, theorem 6).

    With the damped moment ``M + damping mean(diag M) I = R R^T``, R upper triangular, column k is
    rounded after adding ``sum_{j<k} (w_j - w^_j) R_jk / R_kk``: one Cholesky factor, no inverse.
    Columns go in order of falling ``diag M`` where ``act_order``. Runs of at most ``block`` columns
    are corrected one by one, everything beyond by matrix products; the result does not depend on
    it. All grids are fixed beforehand from the weight as it came ("static groups"), ``grid`` is
    "minmax" or "mse" (the shrink search of mse-clip). A column whose input is always zero is
    rounded to nearest.

    GPTQ is greedy and can lose to nearest rounding, mostly in narrow layers; with ``safeguard`` a
    row where it has the larger error ``d M d^T`` keeps nearest rounding (our choice).
    """

    damping: PositiveFloat = 0.01
    act_order: bool = True
    block: PositiveInt = 128
    grid: Literal["minmax", "mse"] = "minmax"
    safeguard: bool = True
    needs_inputs = True

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Round weight (out, in).

        Raises BenchError where the moment is missing, not finite or beyond damping, and where a
        group does not divide ``in``.
        """
        if layer.moment is None:
            raise BenchError(f"layer {layer.name}: 'gptq' needs its moment, and there is none")
        weight = weight.float()
        grid = weight_qparams(weight, fmt, bits, layer.name, self.grid)
        moment = layer.moment.float()
        if not torch.isfinite(moment).all():
            raise BenchError(f"layer {layer.name}: its moment is not finite")
        # The scale of the moment is irrelevant, and squares of large entries could overflow.
        moment = moment / moment.abs().amax().clamp(min=torch.finfo(moment.dtype).tiny)
        order = torch.arange(weight.shape[1], device=weight.device)
        if self.act_order:
            order = moment.diagonal().argsort(descending=True, stable=True)
        feedback = feedback_matrix(moment[order][:, order], self.damping, layer.name)
        levels = _levels(weight.T[order], grid, order, feedback, self.block)
        original = weight_rows(weight, fmt, layer.name)
        integers = levels.T[:, order.argsort()].reshape(original.shape).add_(grid.zero)
        if self.safeguard:
            integers = _better_rows(integers, original, grid, moment)
        return pack(integers, grid)


def _better_rows(
    integers: torch.Tensor, original: torch.Tensor, grid: QParams, moment: torch.Tensor
) -> torch.Tensor:
    """Take nearest rounding for ``integers`` in the rows where nearest has the smaller error.

    All are (out, groups, columns). With residuals a and b, ``a M a^T - b M b^T`` is
    ``(a - b) M (a + b)^T``: one product with M instead of two.
    """
    nearest = quantize(original, grid)
    difference = (integers - nearest).mul_(grid.scale).flatten(1)
    both = dequantize(integers, grid).add_(dequantize(nearest, grid)).sub_(original, alpha=2)
    excess = (difference @ moment).mul_(both.flatten(1)).sum(1)
    return torch.where((excess > 0)[:, None, None], nearest, integers)


def feedback_matrix(moment: torch.Tensor, damping: float, layer: str) -> torch.Tensor:
    """Return F (in, in), lower triangular with a unit diagonal: ``F_kj = R_jk / R_kk``.

    Where the damped moment is not positive definite in float32, the damping grows tenfold, at most
    three times (our choice). A zero moment gives the identity. Raises BenchError where the moment
    is still indefinite.
    """
    identity = torch.eye(len(moment), device=moment.device)
    if not moment.any():
        return identity
    flipped = moment.flip(0, 1)  # its lower factor is R, flipped
    mean = flipped.diagonal().mean()
    for attempt in range(_RAISES + 1):
        factor, failed = torch.linalg.cholesky_ex(flipped + damping * 10**attempt * mean * identity)
        if not failed:
            upper = factor.flip(0, 1)
            return (upper / upper.diagonal()).T.contiguous()
    raise BenchError(f"layer {layer}: its moment is not positive definite, whatever the damping")


def _levels(
    weight: torch.Tensor, grid: QParams, order: torch.Tensor, feedback: torch.Tensor, block: int
) -> torch.Tensor:
    """Round the columns of a layer, the rows of weight (in, out), in ``order`` (in,).

    Returns levels (in, out), integers minus zero point: a rounded weight is ``scale * level``.
    """
    scales = torch.as_tensor(grid.scale)[..., 0].T.contiguous()
    zeros = torch.as_tensor(grid.zero)[..., 0].T
    group = (order // (len(order) // len(scales))).tolist()
    by_group = (scales, grid.lowest - zeros, grid.highest - zeros)
    scale, lowest, highest = ([part[g] for g in group] for part in by_group)
    levels = torch.empty_like(weight)
    # One buffer: a row is a weight plus its corrections until it is rounded, its error after.
    work = weight.clone()
    originals, row, level = weight.unbind(), work.unbind(), levels.unbind()

    def run(start: int, end: int) -> None:
        if end - start > block:
            middle = (start + end) // 2
            run(start, middle)
            work[middle:end].addmm_(feedback[middle:end, start:middle], work[start:middle])
            return run(middle, end)
        for k in range(start, end):
            if k > start:
                row[k].addmv_(work[start:k].T, feedback[k, start:k])
            torch.div(row[k], scale[k], out=level[k])
            level[k].round_().clamp_(lowest[k], highest[k])
            torch.addcmul(originals[k], level[k], scale[k], value=-1, out=row[k])

    run(0, len(weight))
    return levels
