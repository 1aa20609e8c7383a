"""Latents of all images, encoded once, from which batches are drawn."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL

from .data import to_unit


@dataclass(frozen=True)
class Latents:
    """Posterior means and deviations (N, 4, 8, 8), and what brings them to unit variance.

    Scaled latents are (latent - shift) x scaling.
    """

    means: torch.Tensor
    deviations: torch.Tensor
    scaling: float
    shift: float = 0.0

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return indices of ``count`` images, and samples of their posteriors, scaled."""
        chosen = torch.randint(len(self.means), (count,), generator=generator)
        mean, deviation = self.means[chosen], self.deviations[chosen]
        sample = mean + deviation * torch.randn(mean.shape, generator=generator)
        return chosen, (sample - self.shift) * self.scaling


@torch.inference_mode()
def encode_all(
    vae: AutoencoderKL, images: torch.Tensor, *, centred: bool = False, device: str = "cpu"
) -> Latents:
    """Encode uint8 images (N, C, 32, 32); a shift is measured where they are to be ``centred``."""
    vae.to(device)
    parts = [vae.encode(to_unit(batch).to(device)).latent_dist for batch in images.split(500)]
    means = torch.cat([part.mean.cpu() for part in parts])
    deviations = torch.cat([part.std.cpu() for part in parts])
    scaling = float(1.0 / (means.var() + deviations.square().mean()).sqrt())
    return Latents(means, deviations, scaling, float(means.mean()) if centred else 0.0)
