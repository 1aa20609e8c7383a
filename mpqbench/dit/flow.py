"""Flow matching with Euler steps (arXiv 2403.03206), through diffusers' scheduler."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from ..contracts import Mixture
from ..core.errors import BenchError
from ..core.protocol import Protocol
from .loading import DiTModel
from .own import own_sampler
from .schedule import Schedule, build_schedule
from .scheduler_configs import FlowConfig


@dataclass
class FlowSchedule(Schedule):
    """The noise levels of flow matching; the transformer predicts noise less clean latent."""

    def step(
        self,
        output: torch.Tensor,
        position: int,
        latents: torch.Tensor,
        generators: list[torch.Generator],
    ) -> torch.Tensor:
        """Return the latents (n, c, h, w) one Euler step later; nothing is drawn."""
        self.scheduler.set_begin_index(position)
        self.scheduler._step_index = None  # the scheduler counts steps of one image otherwise
        time = self.scheduler.timesteps[position]
        return self.scheduler.step(output[:, : latents.shape[1]], time, latents).prev_sample

    def signal(self, position: int) -> float:
        """Return the share of the clean image in the variance of the step's input latents."""
        level = float(self.scheduler.sigmas[position])
        return (1 - level) ** 2 / ((1 - level) ** 2 + level**2)

    def mixture(self, position: int) -> Mixture:
        """Return the mixture of a latent ``(1 - s) image + s noise`` at noise level s."""
        level = float(self.scheduler.sigmas[position])
        return Mixture(image=(1.0, -level), noise=(1.0, 1 - level))

    def slope(self, position: int, channels: int) -> float:
        """Return the derivative of the next latent with respect to the prediction."""
        levels = self.scheduler.sigmas
        return float(levels[position + 1] - levels[position])


def schedule_of(model: DiTModel, protocol: Protocol) -> Schedule:
    """Return the schedule of a model under a protocol.

    Raises BenchError as ``build_schedule``, and for a sampler that is not of the model's kind.
    """
    architecture, config = model.architecture, model.scheduler
    channels = model.latent_shape[0]
    is_flow = isinstance(config, FlowConfig)
    sampler = own_sampler(is_flow) if protocol.sampler == "own" else protocol.sampler
    if is_flow != (sampler == "euler"):
        what, right = ("velocities", "euler") if is_flow else ("noise", "ddim or ddpm")
        raise BenchError(
            f"sampler {sampler} is not for a transformer that predicts {what}: "
            f"choose --sampler {right}"
        )
    if isinstance(config, FlowConfig):
        even = architecture.even_levels
        tokens = architecture.rows(model.transformer, "embed.patch")
        return build_flow_schedule(config, protocol.steps, tokens, even=even)
    learned = architecture.output_channels(model.transformer) > channels
    return build_schedule(config, sampler, protocol.steps, protocol.convention, learned)


def build_flow_schedule(config: FlowConfig, steps: int, tokens: int, *, even: bool) -> FlowSchedule:
    """Return the schedule of ``steps`` steps for images of so many tokens.

    The noise levels are evenly spaced from 1 to 1 / steps with ``even``, else as the scheduler
    spaces them; then they are shifted, with ``use_dynamic_shifting`` by the number of tokens.
    """
    scheduler = FlowMatchEulerDiscreteScheduler(**config.model_dump())
    given: dict[str, Any] = {"sigmas": np.linspace(1.0, 1 / steps, steps)} if even else {}
    if config.use_dynamic_shifting:
        given["mu"] = dynamic_shift(config, tokens)
    scheduler.set_timesteps(steps, **given)
    times = scheduler.timesteps.tolist()
    return FlowSchedule(scheduler, times, times, learned_variance=False)


def dynamic_shift(config: FlowConfig, tokens: int) -> float:
    """Return the exponent of the shift: linear in the tokens of the image (FLUX)."""
    if config.base_shift is None or config.max_shift is None:
        raise BenchError("scheduler_config.json: use_dynamic_shifting needs base_shift, max_shift")
    span = config.max_image_seq_len - config.base_image_seq_len
    slope = (config.max_shift - config.base_shift) / span
    return config.base_shift + slope * (tokens - config.base_image_seq_len)
