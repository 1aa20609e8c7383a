"""Time steps and the update rule of one sampling step, through diffusers' schedulers.

The original DiT keeps n of the 1,000 noise levels and derives new betas, so that one step of the
short chain is an ordinary step (Nichol and Dhariwal, arXiv 2102.09672, section 4). A diffusers
scheduler of n steps is given the new betas here, which makes both DDIM and DDPM exact.
"""

import inspect
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from ..contracts import Mixture
from ..core.errors import BenchError
from .scheduler_configs import SchedulerConfig


@dataclass
class Schedule:
    """A scheduler, and the times that the model and the scheduler are given at every step."""

    scheduler: Any
    model_times: Sequence[float]
    scheduler_times: Sequence[float]
    learned_variance: bool

    @property
    def times(self) -> torch.Tensor:
        """The times that the model is told, (steps,): whole numbers, but for flow matching."""
        return torch.tensor(self.model_times)

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

    def mixture(self, position: int) -> Mixture:
        """Return how image and noise follow from the step's input latents and the prediction."""
        signal = self.signal(position)
        scale, ratio = math.sqrt(signal), math.sqrt((1 - signal) / signal)
        return Mixture(image=(1 / scale, -ratio), noise=(0.0, 1.0))

    def slope(self, position: int, channels: int) -> float:
        """Return the derivative of the next latent with respect to the predicted noise.

        The step is linear: the derivative is the difference between noise of 1 and noise of 0.
        Raises BenchError where the model predicts no noise or the step clips.
        """
        config = self.scheduler.config
        if config.prediction_type != "epsilon" or config.clip_sample or config.thresholding:
            raise BenchError(
                "a correction needs a model that predicts noise (prediction_type epsilon), without "
                "clip_sample and thresholding"
            )
        nothing = torch.zeros(1, channels, 1, 1)
        variance = nothing if self.learned_variance else nothing[:, :0]

        def next_latent(noise: torch.Tensor) -> torch.Tensor:
            generators = [torch.Generator().manual_seed(0)]
            return self.step(torch.cat([noise, variance], 1), position, nothing, generators)

        return float((next_latent(nothing + 1) - next_latent(nothing)).mean())


# Values of scheduler settings under which the original convention is what the model was made for.
_ORIGINAL: dict[str, tuple[object, ...]] = {
    "prediction_type": ("epsilon",),
    "rescale_betas_zero_snr": (False,),
    "clip_sample": (False,),
    "thresholding": (False,),
    "timestep_spacing": ("leading", "linspace"),  # diffusers' default, and what the original does
    "steps_offset": (0,),
    "set_alpha_to_one": (True,),
    "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "learned_range"),
}
_DIFFUSERS: dict[str, tuple[object, ...]] = {
    "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large")
}
_OF_ONE_SAMPLER = {"set_alpha_to_one": "ddim", "variance_type": "ddpm"}


def build_schedule(
    config: SchedulerConfig, sampler: str, steps: int, convention: str, channels_doubled: bool
) -> Schedule:
    """Build the schedule of ``steps`` steps; ``channels_doubled``: the model predicts a variance.

    DDPM under the original convention uses the variance that ``config`` names, else the learned
    variance, else the upper bound ``fixed_large`` (create_diffusion in the code of DiT). Raises
    BenchError for a setting that the convention does not honour and for too many steps.
    """
    _check_settings(config, sampler, convention, channels_doubled)
    levels = config.num_train_timesteps
    if steps > levels:
        raise BenchError(
            f"the model has {levels} noise levels: {steps} sampling steps are too many"
        )
    if convention == "diffusers":
        return _as_configured(config, sampler, steps)
    kept = _respaced(levels, steps)
    signal = np.cumprod(1.0 - _betas(config))[kept]
    short = 1.0 - signal / np.concatenate([[1.0], signal[:-1]])
    variance = config.variance_type or ("learned_range" if channels_doubled else "fixed_large")
    learned = sampler == "ddpm" and variance == "learned_range"
    chain = {"num_train_timesteps": steps, "trained_betas": short, "clip_sample": False}
    scheduler: Any = (
        DDIMScheduler(**chain, set_alpha_to_one=True)
        if sampler == "ddim"
        else DDPMScheduler(**chain, variance_type=variance)
    )
    if not np.allclose(scheduler.alphas_cumprod, signal, rtol=1e-3, atol=0):
        # In float32 a beta near 1 leaves no signal, as of a cosine in few steps.
        scheduler.alphas_cumprod = torch.tensor(signal, dtype=torch.float32)
    scheduler.set_timesteps(steps)
    return Schedule(scheduler, kept[::-1].tolist(), list(range(steps))[::-1], learned)


def _check_settings(
    config: SchedulerConfig, sampler: str, convention: str, channels_doubled: bool
) -> None:
    """Raise BenchError for the first setting that the convention would ignore."""
    is_original = convention == "original"
    other = "diffusers" if is_original else "original"
    for key, values in (_ORIGINAL if is_original else _DIFFUSERS).items():
        value = getattr(config, key)
        if _OF_ONE_SAMPLER.get(key, sampler) == sampler and value not in values:
            known = " or ".join(json.dumps(each) for each in values if each is not None)
            helps = (is_original and key != "variance_type") or value == "learned_range"
            hint = f" (--convention {other} follows the file)" if helps else ""
            raise BenchError(
                f"scheduler_config.json: {key} is {json.dumps(value)}, and the {convention} "
                f"convention samples with {known} only{hint}"
            )
    variance = config.variance_type
    mismatch = variance is not None and (variance == "learned_range") != channels_doubled
    if is_original and sampler == "ddpm" and mismatch:
        what = "a variance" if channels_doubled else "no variance"
        raise BenchError(
            f"scheduler_config.json: variance_type is {json.dumps(variance)}, and the transformer "
            f"predicts {what} (out_channels): change the key or leave it out"
        )


def _as_configured(config: SchedulerConfig, sampler: str, steps: int) -> Schedule:
    """Return the schedule of diffusers' scheduler with all settings of the file."""
    cls: Any = DDIMScheduler if sampler == "ddim" else DDPMScheduler
    known = inspect.signature(cls).parameters
    given = {k: v for k, v in config if k in known and v is not None}
    scheduler = cls(**given)
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.tolist()
    if len(times) != steps or max(times) >= config.num_train_timesteps:
        raise BenchError(
            f"scheduler_config.json: timestep_spacing '{config.timestep_spacing}' with "
            f"steps_offset {config.steps_offset} gives no {steps} steps within the "
            f"{config.num_train_timesteps} noise levels: choose other --steps"
        )
    return Schedule(scheduler, times, times, learned_variance=False)


def _betas(config: SchedulerConfig) -> np.ndarray:
    """Return the betas (levels,) of the model's training, in float64."""
    levels = config.num_train_timesteps
    if config.trained_betas is not None:
        return np.array(config.trained_betas)
    if config.beta_schedule == "linear":
        return np.linspace(config.beta_start, config.beta_end, levels)
    if config.beta_schedule == "scaled_linear":
        return np.linspace(config.beta_start**0.5, config.beta_end**0.5, levels) ** 2
    # Squared cosine (arXiv 2102.09672, equation 17), each beta at most 0.999.
    signal = np.cos((np.arange(levels + 1) / levels + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - signal[1:] / signal[:-1], 0.999)


def _respaced(levels: int, steps: int) -> np.ndarray:
    """Return the kept noise levels, summed and rounded as in the original."""
    stride = (levels - 1) / max(steps - 1, 1)
    position, kept = 0.0, []
    for _ in range(steps):
        kept.append(round(position))
        position += stride
    return np.array(kept)
