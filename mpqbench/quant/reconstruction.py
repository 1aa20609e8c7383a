"""Learned rounding (AdaRound, arXiv 2004.10568, section 3.2; BRECQ, arXiv 2102.05426).

Each weight is rounded up or down. The choice is relaxed to the soft-quantized weight
``s clip(floor(W / s) + h(V))`` with the rectified sigmoid ``h(V) = clip(1.2 sigmoid(V) - 0.1, 0,
1)``; a regularizer drives h to 0 or 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch

from ..contracts import BlockData, QuantizedWeight
from ..core.formats import WeightFormat
from .affine import QParams, dequantize, pack, quantize, weight_rows

ZETA, GAMMA = 1.1, -0.1  # h(V) = clip((ZETA - GAMMA) sigmoid(V) + GAMMA, 0, 1)
BETA_FIRST, BETA_LAST, WARMUP = 20.0, 2.0, 0.2
_TOLERANCE = 1e-4  # of a scale: a weight that near to its nearest values has been rounded before


@dataclass(frozen=True)
class Reconstruction:
    """How rounding is learned: by ``iterations`` of Adam at ``rate``.

    The loss is the error divided by that of nearest rounding (for a layer row by row, then the mean
    of its rows), plus ``penalty`` times the regularizer: the mean of ``1 - |2 h - 1|^beta`` over
    all weights. It is relative, so that one penalty suits layers of any size and unit (our choice;
    the papers add 0.01 times the sum to an error in the output's own unit).
    """

    iterations: int
    rate: float
    penalty: float

    def beta(self, step: int) -> float | None:
        """Return beta, 20 falling linearly to 2, or ``None`` in the warm-up, as in BRECQ's code."""
        warm = WARMUP * self.iterations
        if step < warm:
            return None
        return BETA_FIRST + (BETA_LAST - BETA_FIRST) * (step - warm) / (self.iterations - warm)


@dataclass(frozen=True)
class SoftWeight:
    """A ``weight`` between its two nearest values in ``qparams``; tensors are (out, in).

    ``lower`` and ``nearest`` are the integers of rounding down and to nearest. ``down`` is the
    value of ``lower`` and ``down + step`` the value above; beyond the range ``step`` is 0.
    ``fraction`` in [0, 1] is where between the two the weight lies. ``shape`` is that of
    ``weight_rows``.
    """

    qparams: QParams
    shape: tuple[int, ...]
    weight: torch.Tensor
    lower: torch.Tensor
    down: torch.Tensor
    step: torch.Tensor
    fraction: torch.Tensor
    nearest: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor, qparams: QParams, fmt: WeightFormat, layer: str) -> Self:
        """Relax weight (out, in). Raises BenchError as ``weight_rows``."""
        rows = weight_rows(weight, fmt, layer)
        floor = (rows / qparams.scale).floor_()
        fraction = (rows / qparams.scale).sub_(floor)
        lower = (floor + qparams.zero).clamp_(qparams.lowest - 1, qparams.highest)
        inside = (lower >= qparams.lowest) & (lower < qparams.highest)
        lower.clamp_(min=qparams.lowest)
        down, step = dequantize(lower, qparams), inside * torch.as_tensor(qparams.scale)
        nearest = quantize(rows, qparams)
        parts = (part.flatten(1) for part in (lower, down, step, fraction, nearest))
        return cls(qparams, tuple(rows.shape), weight, *parts)

    @property
    def is_rounded(self) -> bool:
        """Whether every weight is one of its values already."""
        gap = dequantize(self.nearest.reshape(self.shape), self.qparams)
        gap = gap - self.weight.reshape(self.shape)
        return bool((gap.abs() <= _TOLERANCE * torch.as_tensor(self.qparams.scale)).all())

    def initial_v(self) -> torch.Tensor:
        """Return V with ``h(V)`` equal to ``fraction``: the soft weight starts as the weight."""
        return torch.logit((self.fraction - GAMMA) / (ZETA - GAMMA))

    def soft(self, h: torch.Tensor) -> torch.Tensor:
        """Return the soft-quantized weight (out, in)."""
        return torch.addcmul(self.down, self.step, h)

    def hard(self, v: torch.Tensor) -> torch.Tensor:
        """Return integers (out, in): rounded up where ``h(V) >= 0.5``, that is V >= 0."""
        return self.lower + ((v >= 0) & (self.step != 0))

    def values(self, integers: torch.Tensor) -> torch.Tensor:
        """Return the weight (out, in) of integers in a float type."""
        return dequantize(integers.reshape(self.shape), self.qparams).flatten(1)

    def pack(self, integers: torch.Tensor) -> QuantizedWeight:
        """Pack integers (out, in) of a float type with the quantization parameters."""
        return pack(integers.reshape(self.shape), self.qparams)


def rectified_sigmoid(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``h(V)`` and its derivative."""
    sigmoid = torch.sigmoid(v)
    free = sigmoid.mul(ZETA - GAMMA).add_(GAMMA)
    h = free.clamp(0, 1)
    slope = torch.addcmul(sigmoid, sigmoid, sigmoid, value=-1).mul_(ZETA - GAMMA)
    return h, slope.masked_fill_(free != h, 0)


def _regularizer_slope(h: torch.Tensor, beta: float) -> torch.Tensor:
    """Return the derivative of ``|2 h - 1|^beta`` by h. Overwrites ``h``."""
    centred = h.mul_(2).sub_(1)
    # exp and log are vectorised on a CPU, pow is ten times slower; log 0 gives the right 0 here.
    power = centred.abs().log_().mul_(beta - 1).exp_().mul_(2 * beta)
    return power.copysign_(centred)


def reconstruct_layer(
    soft: SoftWeight, moment: torch.Tensor, settings: Reconstruction
) -> torch.Tensor:
    """Return integers (out, in) that lower the layer's output error ``tr(dW M dW^T)``.

    With the moment ``M`` (in, in) this is the mean squared error over *all* calibration rows, and
    the gradient is ``2 dW M``: no mini-batches, nothing to seed. Rows of the weight are
    independent, so each keeps nearest rounding where learning did not beat it.
    """
    if soft.is_rounded:
        return soft.nearest
    tiny = torch.finfo(moment.dtype).tiny
    moment = moment / moment.abs().amax().clamp(min=tiny)
    nearest = _row_errors(soft, soft.nearest, moment)
    per_row = 2 / (nearest.clamp(min=tiny) * len(nearest))
    offset, pull = soft.down - soft.weight, soft.step * per_row.unsqueeze(1)
    v = soft.initial_v()
    adam = torch.optim.Adam([v], lr=settings.rate, fused=True)
    for step in range(settings.iterations):
        h, slope = rectified_sigmoid(v)
        gradient = torch.addcmul(offset, soft.step, h).matmul(moment).mul_(pull)
        beta = settings.beta(step)
        if beta is not None:
            gradient.sub_(_regularizer_slope(h, beta), alpha=settings.penalty / v.numel())
        v.grad = gradient.mul_(slope)
        adam.step()
    learned = soft.hard(v)
    better = _row_errors(soft, learned, moment) < nearest
    return torch.where(better.unsqueeze(1), learned, soft.nearest)


def _row_errors(soft: SoftWeight, integers: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    residual = soft.values(integers) - soft.weight
    return (residual @ moment).mul_(residual).sum(1)


def reconstruct_block(
    weights: Mapping[str, SoftWeight], block: BlockData, settings: Reconstruction, batch: int
) -> dict[str, torch.Tensor]:
    """Return integers (out, in) by layer that lower the squared error of the block's output.

    Each iteration takes ``batch`` calibration inputs at random, drawn with ``block.seed``. Layers
    that are already rounded stay as they are. Nearest rounding is kept for the whole block where
    learning did not beat it over all calibration inputs.
    """
    nearest = {path: soft.nearest for path, soft in weights.items()}
    error = _block_error(weights, nearest, block, batch)
    learnable = {path: soft for path, soft in weights.items() if not soft.is_rounded}
    if not learnable or not error > 0:
        return nearest
    fixed = {path: weights[path].values(nearest[path]) for path in weights.keys() - learnable}
    v = {path: soft.initial_v() for path, soft in learnable.items()}
    entries = sum(part.numel() for part in v.values())
    adam = torch.optim.Adam(v.values(), lr=settings.rate, fused=True)
    generator = torch.Generator().manual_seed(block.seed)
    for step in range(settings.iterations):
        indices = torch.randperm(len(block.targets), generator=generator)[:batch]
        indices = indices.to(block.targets.device)
        relaxed = {path: rectified_sigmoid(part) for path, part in v.items()}
        trained = {path: learnable[path].soft(h) for path, (h, _) in relaxed.items()}
        with torch.enable_grad():
            for weight in trained.values():
                weight.requires_grad_()
            output = block.forward(fixed | trained, indices)
            loss = (output - block.targets[indices]).square().mean() / error
            slopes = torch.autograd.grad(loss, list(trained.values()))
        beta = settings.beta(step)
        for (path, (h, slope)), pull in zip(relaxed.items(), slopes, strict=True):
            gradient = pull * learnable[path].step
            if beta is not None:
                gradient.sub_(_regularizer_slope(h, beta), alpha=settings.penalty / entries)
            v[path].grad = gradient.mul_(slope)
        adam.step()
    learned = nearest | {path: learnable[path].hard(v[path]) for path in learnable}
    return learned if _block_error(weights, learned, block, batch) < error else nearest


def _block_error(
    weights: Mapping[str, SoftWeight],
    integers: Mapping[str, torch.Tensor],
    block: BlockData,
    batch: int,
) -> float:
    """Return the mean squared error of the block's output over all calibration inputs."""
    values = {path: soft.values(integers[path]) for path, soft in weights.items()}
    total = 0.0
    for indices in torch.arange(len(block.targets), device=block.targets.device).split(batch):
        output = block.forward(values, indices)
        total += float((output - block.targets[indices]).square().double().sum())
    return total / block.targets.numel()
