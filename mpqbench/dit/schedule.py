"""Time steps and the update rule of one sampling step, through diffusers' schedulers.

The original DiT keeps n of the 1,000 noise levels and derives new betas, so that one step of the
short chain is an ordinary step (Nichol and Dhariwal, arXiv 2102.09672, section 4). A diffusers
scheduler of n steps is given the new betas here, which makes both DDIM and DDPM exact.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from ..core.errors import BenchError


@dataclass
class Schedule:
    """A scheduler, and the times that the model and the scheduler are given at every step."""

    scheduler: Any
    model_times: list[int]
    scheduler_times: list[int]
    learned_variance: bool

    def step(
        self,
        output: torch.Tensor,
        position: int,
        latents: torch.Tensor,
        generators: list[torch.Generator],
    ) -> torch.Tensor:
        """Return the latents (n, c, h, w) one step later.

        ``output`` has the channels of epsilon, then those of the variance if learned. Image i draws
        only from ``generators[i]``, so that its noise depends on no other image.
        """
        if not self.learned_variance:
            output = output[:, : latents.shape[1]]
        time = self.scheduler_times[position]
        options = {"generator": generators} if isinstance(self.scheduler, DDPMScheduler) else {}
        return self.scheduler.step(output, time, latents, **options).prev_sample

    def signal(self, position: int) -> float:
        """Return the share of the clean image in the variance of the step's input latents."""
        return float(self.scheduler.alphas_cumprod[self.scheduler_times[position]])

    def slope(self, position: int, channels: int) -> float:
        """Return the derivative of the next latent with respect to the predicted noise.

        The step is linear: the derivative is the difference between noise of 1 and noise of 0.
        """
        nothing = torch.zeros(1, channels, 1, 1)
        variance = nothing if self.learned_variance else nothing[:, :0]

        def next_latent(noise: torch.Tensor) -> torch.Tensor:
            generators = [torch.Generator().manual_seed(0)]
            return self.step(torch.cat([noise, variance], 1), position, nothing, generators)

        return float((next_latent(nothing + 1) - next_latent(nothing)).mean())


def build_schedule(
    config: dict[str, Any], sampler: str, steps: int, convention: str, channels_doubled: bool
) -> Schedule:
    """Build the schedule of ``steps`` steps; ``channels_doubled``: the model predicts a variance.

    DDPM uses the learned variance, if any, under the original convention, and the scheduler's own
    variance otherwise, as each code base does. Under the original convention, raises BenchError for
    a model trained on other than linear betas or on fewer than ``steps`` noise levels.
    """
    scheduler: Any = DDIMScheduler if sampler == "ddim" else DDPMScheduler
    if convention == "diffusers":
        scheduler = scheduler.from_config(config)
        scheduler.set_timesteps(steps)
        times = scheduler.timesteps.tolist()
        return Schedule(scheduler, times, times, learned_variance=False)
    levels = int(config.get("num_train_timesteps", 1000))
    kind = config.get("beta_schedule", "linear")
    if kind != "linear":
        raise BenchError(f"the original convention needs linear betas, the model has '{kind}'")
    if steps > levels:
        raise BenchError(
            f"the model has {levels} noise levels: {steps} sampling steps are too many"
        )
    betas = np.linspace(config.get("beta_start", 1e-4), config.get("beta_end", 2e-2), levels)
    kept = _respaced(levels, steps)
    signal = np.cumprod(1.0 - betas)[kept]
    short = 1.0 - signal / np.concatenate([[1.0], signal[:-1]])
    learned = sampler == "ddpm" and channels_doubled
    variance = {"variance_type": "learned_range" if learned else "fixed_small"}
    options = {"set_alpha_to_one": True} if sampler == "ddim" else variance
    scheduler = scheduler(
        num_train_timesteps=steps, trained_betas=short, clip_sample=False, **options
    )
    scheduler.set_timesteps(steps)
    return Schedule(scheduler, kept[::-1].tolist(), list(range(steps))[::-1], learned)


def _respaced(levels: int, steps: int) -> np.ndarray:
    """Return the kept noise levels, summed and rounded as in the original."""
    stride = (levels - 1) / max(steps - 1, 1)
    position, kept = 0.0, []
    for _ in range(steps):
        kept.append(round(position))
        position += stride
    return np.array(kept)
