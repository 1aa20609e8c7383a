"""SiT (arXiv 2401.08740) as an architecture: the transformer of DiT, trained for flow matching.

A folder has the parts of a ``DiTPipeline`` with these names in its JSON files: ``SiTPipeline`` in
``model_index.json``, ``SiTTransformer2DModel`` for the transformer and
``FlowMatchEulerDiscreteScheduler`` for the scheduler. SiT's time is 0 in noise and 1 in an image,
and its velocity is the image less the noise; the harness counts time from 1,000 down to 0 and
wants the noise less the image.
"""

from typing import Any

import torch
from diffusers import DiTTransformer2DModel

from mpqbench.dit.architecture import FLOW_SCHEDULER
from mpqbench.dit.architectures.dit import DiT


class SiTTransformer2DModel(DiTTransformer2DModel):
    """The network of DiT under another name, so that its configurations are told apart."""


class SiT(DiT):
    """Blocks, groups and costs of DiT; times, velocities and sampling of flow matching."""

    classes = ("SiTTransformer2DModel",)
    pipelines = ("SiTPipeline",)
    schedulers = (FLOW_SCHEDULER,)
    even_levels = True

    def transformer_class(self) -> Any:
        return SiTTransformer2DModel

    def forward(
        self, transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        velocity = transformer(latents, 1 - times / 1000, classes).sample
        return -velocity[:, : latents.shape[1]]  # SiT keeps the channels of DiT's variance

    def output_channels(self, transformer: Any) -> int:
        return int(transformer.config.in_channels)

    def own_chain(self, transformer: Any, attend: Any) -> None:
        """Return None: DiT's chain would leave out what ``forward`` does."""


PLUGINS = {"architecture": {"sit": SiT}}
