"""Time steps and the update rule of one sampling step, through diffusers' schedulers.

The original DiT respaces the chain: it keeps n of the 1,000 noise levels and derives new betas, so
that one step of the short chain is an ordinary step. The same is done here by giving those betas
to a diffusers scheduler of n steps, which makes both DDIM and DDPM exact without code of our own
(Nichol and Dhariwal, arXiv 2102.09672, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from ..core.errors import BenchError
from .convention import Convention


@dataclass
class Schedule:
    """What the model is told (``model_times``) and what the scheduler is told (``own_times``)."""

    scheduler: Any
    model_times: list[int]
    own_times: list[int]
    learned_variance: bool

    def step(
        self,
        output: torch.Tensor,
        position: int,
        latents: torch.Tensor,
        generators: list[torch.Generator],
    ) -> torch.Tensor:
        """Latents (n, c, h, w) one step later; ``output`` is epsilon, then variance if learned.

        Image i draws only from ``generators[i]``, so its noise depends on no other image.
        """
        if not self.learned_variance:
            output = output[:, : latents.shape[1]]
        time = self.own_times[position]
        options = {"generator": generators} if isinstance(self.scheduler, DDPMScheduler) else {}
        return self.scheduler.step(output, time, latents, **options).prev_sample

    def signal(self, position: int) -> float:
        """The share of the clean image in the variance of the latents that a step is given."""
        return float(self.scheduler.alphas_cumprod[self.own_times[position]])

    def slope(self, position: int, channels: int) -> float:
        """By how much the latent one step later rises with the predicted noise, of any latent.

        It is told by the step itself: of no latent, between no noise and noise of 1.
        """
        nothing = torch.zeros(1, channels, 1, 1)
        variance = nothing if self.learned_variance else nothing[:, :0]

        def led_to(noise: torch.Tensor) -> torch.Tensor:
            generators = [torch.Generator().manual_seed(0)]
            return self.step(torch.cat([noise, variance], 1), position, nothing, generators)

        return float((led_to(nothing + 1) - led_to(nothing)).mean())


def build_schedule(
    config: dict[str, Any], sampler: str, steps: int, convention: Convention, channels_doubled: bool
) -> Schedule:
    """The schedule of ``steps`` steps; ``channels_doubled`` says the model predicts variance too.

    DDPM uses the learned variance of a model that has one under the original convention, and the
    scheduler's own variance otherwise, as each code base does. Raises BenchError where the model
    was trained on other than linear betas, which the original convention is defined for.
    """
    learned = sampler == "ddpm" and channels_doubled and convention == "original"
    if convention == "diffusers":
        return _own_spacing(config, sampler, steps)
    levels = int(config.get("num_train_timesteps", 1000))
    kind = config.get("beta_schedule", "linear")
    if kind != "linear":
        raise BenchError(f"the original convention needs linear betas, the model has '{kind}'")
    if steps > levels:
        raise BenchError(f"{steps} steps asked of a model trained on {levels}")
    betas = np.linspace(config.get("beta_start", 1e-4), config.get("beta_end", 2e-2), levels)
    kept = _respaced(levels, steps)
    signal = np.cumprod(1.0 - betas)[kept]
    short = 1.0 - signal / np.concatenate([[1.0], signal[:-1]])
    common = {"num_train_timesteps": steps, "trained_betas": short, "clip_sample": False}
    if sampler == "ddim":
        scheduler = DDIMScheduler(**common, set_alpha_to_one=True)
    else:
        variance = "learned_range" if learned else "fixed_small"
        scheduler = DDPMScheduler(**common, variance_type=variance)
    scheduler.set_timesteps(steps)
    return Schedule(scheduler, kept[::-1].tolist(), list(range(steps))[::-1], learned)


def _own_spacing(config: dict[str, Any], sampler: str, steps: int) -> Schedule:
    cls = DDIMScheduler if sampler == "ddim" else DDPMScheduler
    scheduler = cls.from_config(config)
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.tolist()
    return Schedule(scheduler, times, times, learned_variance=False)


def _respaced(levels: int, steps: int) -> np.ndarray:
    """The kept noise levels, first and last included, rounded as the original accumulates them."""
    if steps == 1:
        return np.array([0])
    stride = (levels - 1) / (steps - 1)
    position, kept = 0.0, []
    for _ in range(steps):
        kept.append(round(position))
        position += stride
    return np.array(kept)
