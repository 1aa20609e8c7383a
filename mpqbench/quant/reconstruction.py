"""Learned rounding: each weight goes to the number below or above it on its grid.

The choice is relaxed to ``W^ = s clip(floor(W / s) + h(V))`` with AdaRound's rectified sigmoid
``h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)`` (arXiv 2004.10568, section 3.2), and a penalty drives h
to 0 or 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..contracts import BlockData, QuantizedWeight
from ..core.formats import WeightFormat
from .affine import QParams, pack, quantize, weight_rows

ZETA, GAMMA = 1.1, -0.1
BETA_FIRST, BETA_LAST, WARMUP = 20.0, 2.0, 0.2
_ON_GRID = 1e-4  # steps: so close to the grid everywhere, a weight has been rounded before


@dataclass(frozen=True)
class Learning:
    """Adam's ``rate`` and ``iterations``, and the ``penalty`` of undecided weights.

    The loss is the error divided by that of nearest rounding (for a layer row by row, then the mean
    of its rows), plus ``penalty`` times the mean of ``1 - |2 h - 1|^beta`` over all weights, which
    is 1 where nothing is decided. Relative, so that one penalty suits layers of any size and unit
    (our choice; the papers add 0.01 times the sum to an error in the output's own unit).
    """

    iterations: int
    rate: float
    penalty: float

    def beta(self, step: int) -> float | None:
        """20 falling linearly to 2 after a warm-up without penalty (None), as in BRECQ's code."""
        warm = WARMUP * self.iterations
        if step < warm:
            return None
        return BETA_FIRST + (BETA_LAST - BETA_FIRST) * (step - warm) / (self.iterations - warm)


@dataclass(frozen=True)
class UpDown:
    """A weight between the two nearest numbers of its grid at each entry; tensors are (out, in).

    ``down`` is the lower number and ``down + step`` the upper; where the grid ends, both are its
    end and ``step`` is 0. ``fraction`` in [0, 1] is where between them the weight lies, ``nearest``
    the integers of nearest rounding.
    """

    grid: QParams
    shape: tuple[int, ...]  # of ``weight_rows``
    weight: torch.Tensor
    lower: torch.Tensor
    down: torch.Tensor
    step: torch.Tensor
    fraction: torch.Tensor
    nearest: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor, grid: QParams, fmt: WeightFormat, layer: str) -> UpDown:
        rows = weight_rows(weight, fmt, layer)
        floor = (rows / grid.scale).floor_()
        fraction = (rows / grid.scale).sub_(floor)
        lower = (floor + grid.zero).clamp_(grid.lowest - 1, grid.highest)
        inside = (lower >= grid.lowest) & (lower < grid.highest)
        lower.clamp_(min=grid.lowest)
        down, step = (lower - grid.zero) * grid.scale, inside * torch.as_tensor(grid.scale)
        nearest = quantize(rows, grid)
        parts = (part.flatten(1) for part in (lower, down, step, fraction, nearest))
        return cls(grid, tuple(rows.shape), weight, *parts)

    @property
    def is_rounded(self) -> bool:
        """Whether every weight already is a number of the grid, to a ten thousandth of a step."""
        rows = self.nearest.reshape(self.shape)
        gap = (rows - self.grid.zero) * self.grid.scale - self.weight.reshape(self.shape)
        return bool((gap.abs() <= _ON_GRID * torch.as_tensor(self.grid.scale)).all())

    def start(self) -> torch.Tensor:
        """V with ``h(V)`` equal to ``fraction``: the relaxed weight starts as the weight itself."""
        return torch.logit((self.fraction - GAMMA) / (ZETA - GAMMA))

    def between(self, h: torch.Tensor) -> torch.Tensor:
        """Weight (out, in) at the share ``h`` of the way up."""
        return torch.addcmul(self.down, self.step, h)

    def decided(self, v: torch.Tensor) -> torch.Tensor:
        """Integers (out, in): the upper where ``h(V) >= 0.5``, that is V >= 0."""
        return self.lower + ((v >= 0) & (self.step != 0))

    def values(self, integers: torch.Tensor) -> torch.Tensor:
        """Weight (out, in) of integers in a float type."""
        rows = integers.reshape(self.shape)
        return ((rows - self.grid.zero) * self.grid.scale).flatten(1)

    def pack(self, integers: torch.Tensor) -> QuantizedWeight:
        """Integers (out, in) in a float type on the grid."""
        return pack(integers.reshape(self.shape), self.grid)


def openness(v: torch.Tensor) -> torch.Tensor:
    """The rectified sigmoid h(V)."""
    return torch.sigmoid(v).mul(ZETA - GAMMA).add(GAMMA).clamp(0, 1)


def learn_layer(choice: UpDown, moment: torch.Tensor, learning: Learning) -> torch.Tensor:
    """Integers (out, in) that lower the layer's output error ``tr(dW M dW^T)``.

    With the moment ``M`` (in, in) this is the mean squared error over *all* calibration rows and
    has its gradient in closed form, ``2 dW M``: no mini-batches, no noise, nothing to seed. Rows of
    the weight are independent, so each keeps nearest rounding where learning did not beat it.
    """
    if choice.is_rounded:
        return choice.nearest
    tiny = torch.finfo(moment.dtype).tiny
    moment = moment / moment.abs().amax().clamp(min=tiny)
    nearest = _row_errors(choice, choice.nearest, moment)
    per_row = 2 / (nearest.clamp(min=tiny) * len(nearest))
    offset, pull = choice.down - choice.weight, choice.step * per_row.unsqueeze(1)
    v = choice.start()
    adam = torch.optim.Adam([v], lr=learning.rate, fused=True)
    for step in range(learning.iterations):
        h, slope = _relaxation(v)
        gradient = torch.addcmul(offset, choice.step, h).matmul(moment).mul_(pull)
        beta = learning.beta(step)
        if beta is not None:
            gradient.sub_(_decisiveness(h, beta), alpha=learning.penalty / v.numel())
        v.grad = gradient.mul_(slope)
        adam.step()
    learned = choice.decided(v)
    better = _row_errors(choice, learned, moment) < nearest
    return torch.where(better.unsqueeze(1), learned, choice.nearest)


def _relaxation(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``h(V)`` and its derivative."""
    sigmoid = torch.sigmoid(v)
    free = sigmoid.mul(ZETA - GAMMA).add_(GAMMA)
    h = free.clamp(0, 1)
    slope = torch.addcmul(sigmoid, sigmoid, sigmoid, value=-1).mul_(ZETA - GAMMA)
    return h, slope.masked_fill_(free != h, 0)


def _decisiveness(h: torch.Tensor, beta: float) -> torch.Tensor:
    """Derivative of ``|2 h - 1|^beta`` by h. Overwrites ``h``."""
    centred = h.mul_(2).sub_(1)
    # exp and log are vectorised on a CPU, pow is ten times slower; log 0 gives the right 0 here.
    power = centred.abs().log_().mul_(beta - 1).exp_().mul_(2 * beta)
    return power.copysign_(centred)


def _row_errors(choice: UpDown, integers: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    residual = choice.values(integers) - choice.weight
    return (residual @ moment).mul_(residual).sum(1)


def learn_block(
    choices: Mapping[str, UpDown], block: BlockData, learning: Learning, batch: int
) -> dict[str, torch.Tensor]:
    """Integers (out, in) by layer that lower the squared error of the block's output.

    Each iteration takes ``batch`` calibration inputs at random, drawn with ``block.seed``. Layers
    that are already rounded stay as they are. Nearest rounding is kept for the whole block where
    learning did not beat it over all calibration inputs.
    """
    nearest = {path: choice.nearest for path, choice in choices.items()}
    error = _block_error(choices, nearest, block, batch)
    learnable = {path: choice for path, choice in choices.items() if not choice.is_rounded}
    if not learnable or not error > 0:
        return nearest
    fixed = {path: choices[path].values(nearest[path]) for path in choices.keys() - learnable}
    v = {path: choice.start() for path, choice in learnable.items()}
    entries = sum(part.numel() for part in v.values())
    adam = torch.optim.Adam(v.values(), lr=learning.rate, fused=True)
    generator = torch.Generator().manual_seed(block.seed)
    for step in range(learning.iterations):
        indices = torch.randperm(len(block.targets), generator=generator)[:batch]
        indices = indices.to(block.targets.device)
        relaxed = {path: _relaxation(part) for path, part in v.items()}
        weights = {path: learnable[path].between(h) for path, (h, _) in relaxed.items()}
        with torch.enable_grad():
            for weight in weights.values():
                weight.requires_grad_()
            output = block.forward(fixed | weights, indices)
            loss = (output - block.targets[indices]).square().mean() / error
            slopes = torch.autograd.grad(loss, list(weights.values()))
        beta = learning.beta(step)
        for (path, (h, slope)), pull in zip(relaxed.items(), slopes, strict=True):
            gradient = pull * learnable[path].step
            if beta is not None:
                gradient.sub_(_decisiveness(h, beta), alpha=learning.penalty / entries)
            v[path].grad = gradient.mul_(slope)
        adam.step()
    learned = nearest | {path: learnable[path].decided(v[path]) for path in learnable}
    return learned if _block_error(choices, learned, block, batch) < error else nearest


def _block_error(
    choices: Mapping[str, UpDown],
    integers: Mapping[str, torch.Tensor],
    block: BlockData,
    batch: int,
) -> float:
    """Mean squared error of the block's output over all calibration inputs."""
    weights = {path: choice.values(integers[path]) for path, choice in choices.items()}
    total = 0.0
    for indices in torch.arange(len(block.targets), device=block.targets.device).split(batch):
        output = block.forward(weights, indices)
        total += float((output - block.targets[indices]).square().double().sum())
    return total / block.targets.numel()
