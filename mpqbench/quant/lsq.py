"""Rounding that can be trained: straight-through numbers, learned step sizes (LSQ).

The gradients are those of LSQ (arXiv 1902.08153, equations 3 and 5). None of them is written down
here: they follow from treating ``round`` as the identity and leaving ``clip`` as it is.
"""

from __future__ import annotations

import torch


def round_through(x: torch.Tensor) -> torch.Tensor:
    """``x`` rounded, halves to even; the gradient passes unchanged (straight-through)."""
    return x + (x.round() - x).detach()


def scale_gradient(x: torch.Tensor, factor: float) -> torch.Tensor:
    """``x`` itself; its gradient is multiplied by ``factor``."""
    return torch.lerp(x.detach(), x, factor) if factor != 1 else x


def step_factor(weights: int, highest: int) -> float:
    """LSQ's factor ``1 / sqrt(N Q_P)`` on the gradient of a scale that serves N ``weights``."""
    return (weights * highest) ** -0.5


def fake_quantize_lsq(
    v: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, lowest: int, highest: int
) -> torch.Tensor:
    """``s (clip(round(v / s) + z, lowest, highest) - z)``, same shape as ``v``.

    ``scale`` (positive) and ``zero`` (whole) broadcast against v. Inside the range the gradient by
    v is 1 and that by s is ``round(v / s) - v / s``; outside it is 0 and ``end - z``.
    """
    inside = (v / scale + zero).clamp(lowest, highest)
    return scale * (round_through(inside) - zero)
