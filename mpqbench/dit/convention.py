"""The arithmetic of the original DiT or of diffusers: one switch, set on a transformer in place.

docs/conventions.md lists the differences with their sources. Time-embedding frequencies, one norm
epsilon and the guided channels are here; time steps are in ``schedule.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diffusers import DiTTransformer2DModel

Convention = Literal["original", "diffusers"]


@dataclass(frozen=True)
class _Arithmetic:
    frequency_shift: int  # denominator of the time frequencies is half the channels minus this
    mlp_norm_epsilon: float
    guided_channels: int | None  # None: all latent channels


ARITHMETIC: dict[str, _Arithmetic] = {
    "original": _Arithmetic(frequency_shift=0, mlp_norm_epsilon=1e-6, guided_channels=3),
    "diffusers": _Arithmetic(frequency_shift=1, mlp_norm_epsilon=1e-5, guided_channels=None),
}


def apply_convention(transformer: DiTTransformer2DModel, convention: Convention) -> None:
    """Set the time frequencies and the epsilon of the norm before every block's MLP."""
    arithmetic = ARITHMETIC[convention]
    for block in transformer.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = arithmetic.frequency_shift
        block.norm3.eps = arithmetic.mlp_norm_epsilon
