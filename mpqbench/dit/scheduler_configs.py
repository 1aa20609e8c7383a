"""The configurations of schedulers, checked without PyTorch. Keys and defaults are diffusers'."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .part_configs import OpenConfig, PartConfig

Beta = Annotated[float, Field(gt=0, lt=1)]


class SchedulerConfig(PartConfig):
    """``scheduler/scheduler_config.json``; which values a sampler honours: ``build_schedule``."""

    num_train_timesteps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    beta_start: Beta = 1e-4
    beta_end: Beta = 2e-2
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: list[Beta] | None = None
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    timestep_spacing: Literal["leading", "linspace", "trailing"] = "leading"
    steps_offset: Annotated[int, Field(ge=0, le=1000)] = 0
    set_alpha_to_one: bool = True
    clip_sample: bool = True
    clip_sample_range: Annotated[float, Field(gt=0)] = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Annotated[float, Field(ge=0, le=1)] = 0.995
    sample_max_value: Annotated[float, Field(ge=1)] = 1.0
    variance_type: (
        Literal[
            "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned",
            "learned_range",
        ]
        | None
    ) = None  # fmt: skip  # None: the file does not say

    @model_validator(mode="after")
    def _fits(self) -> Self:
        betas, levels = self.trained_betas, self.num_train_timesteps
        if betas is not None and len(betas) != levels:
            raise ValueError(
                f"trained_betas has {len(betas)} values, num_train_timesteps is {levels}"
            )
        return self


class FlowConfig(PartConfig):
    """``scheduler/scheduler_config.json`` of flow matching with Euler steps (SD3, FLUX)."""

    num_train_timesteps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    shift: Annotated[float, Field(gt=0)] = 1.0
    use_dynamic_shifting: bool = False
    base_shift: float | None = 0.5
    max_shift: float | None = 1.15
    base_image_seq_len: Annotated[int, Field(ge=1)] = 256
    max_image_seq_len: Annotated[int, Field(ge=1)] = 4096
    invert_sigmas: Literal[False] = False
    shift_terminal: Annotated[float, Field(gt=0, lt=1)] | None = None
    use_karras_sigmas: Literal[False] | None = False
    use_exponential_sigmas: Literal[False] | None = False
    use_beta_sigmas: Literal[False] | None = False
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    stochastic_sampling: Literal[False] = False


class SolverConfig(OpenConfig):
    """``scheduler/scheduler_config.json`` of a DPM-Solver, of which the noise levels are taken.

    Images are sampled with DDIM, DDPM or Euler steps on these levels.
    """

    num_train_timesteps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    beta_start: Beta = 1e-4
    beta_end: Beta = 2e-2
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: list[Beta] | None = None
    prediction_type: Literal["epsilon", "flow_prediction"] = "epsilon"
    timestep_spacing: Literal["leading", "linspace", "trailing"] = "linspace"
    steps_offset: Annotated[int, Field(ge=0, le=1000)] = 0
    rescale_betas_zero_snr: Literal[False] = False
    use_flow_sigmas: bool | None = False
    flow_shift: Annotated[float, Field(gt=0)] | None = 1.0

    def levels(self) -> SchedulerConfig | FlowConfig:
        """Return the noise levels as the configuration of another scheduler."""
        if self.prediction_type == "flow_prediction" or self.use_flow_sigmas:
            shift = self.flow_shift or 1.0
            return FlowConfig(num_train_timesteps=self.num_train_timesteps, shift=shift)
        kept = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
                "timestep_spacing", "steps_offset")  # fmt: skip
        return SchedulerConfig(**{key: getattr(self, key) for key in kept}, clip_sample=False)


NoiseLevels = SchedulerConfig | FlowConfig
