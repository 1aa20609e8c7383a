"""The arithmetic of the original DiT or of diffusers: one switch, set on a transformer in place.

docs/conventions.md lists the differences with their sources. Time steps are in ``schedule.py``.
"""

from typing import Literal, NamedTuple

from diffusers import DiTTransformer2DModel

Convention = Literal["original", "diffusers"]


class _Arithmetic(NamedTuple):
    frequency_shift: int  # denominator of the time frequencies is half the channels minus this
    mlp_norm_epsilon: float
    guided_channels: int | None  # None: all latent channels


ARITHMETIC = {"original": _Arithmetic(0, 1e-6, 3), "diffusers": _Arithmetic(1, 1e-5, None)}


def apply_convention(transformer: DiTTransformer2DModel, convention: Convention) -> None:
    """Set the time frequencies and the epsilon of the norm before every block's MLP."""
    arithmetic = ARITHMETIC[convention]
    for block in transformer.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = arithmetic.frequency_shift
        block.norm3.eps = arithmetic.mlp_norm_epsilon
