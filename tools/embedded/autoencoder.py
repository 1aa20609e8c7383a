"""The autoencoders: 32x32 images to 8x8x4 latents and back."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from mpqbench.metrics.fashion_net import FashionNet

from .data import to_unit
from .loop import Stage, TrainingRun

BATCH = 32
KL_WEIGHT = 1e-6
PERCEPTUAL_WEIGHT = 0.5


def build_autoencoder(widths: tuple[int, ...] = (16, 32, 64), channels: int = 1) -> AutoencoderKL:
    """Build a small ``AutoencoderKL``: two halvings, one layer per block, no attention."""
    depth = len(widths)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
        mid_block_add_attention=False,
    )


def train_autoencoder(
    run: TrainingRun, build: Callable[[], AutoencoderKL], images: torch.Tensor, critic: FashionNet
) -> AutoencoderKL:
    """Train what ``build`` makes with L1, a perceptual distance and a little KL divergence.

    A squared error blurs images, and blur dominated the Frechet distance of a first attempt; L1 and
    the feature maps of ``critic``, which computes no metric, preserve seams and prints.
    """
    torch.manual_seed(run.seed)
    vae = build().to(run.device, memory_format=torch.channels_last)
    critic.to(run.device).requires_grad_(False)

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        target = to_unit(images[chosen]).to(run.device, memory_format=torch.channels_last)
        posterior = vae.encode(target).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(run.device)
        output = vae.decode(posterior.mean + posterior.std * noise).sample
        pixel = F.l1_loss(output, target)
        perceptual = _perceptual(critic, output, target)
        divergence = posterior.kl().mean()
        total = pixel + PERCEPTUAL_WEIGHT * perceptual + KL_WEIGHT * divergence
        return {"total": total, "l1": pixel, "perceptual": perceptual, "kl": divergence}

    stage = Stage(run, vae, losses, ema_decay=0.998)
    stage.run()
    stage.use_ema()
    return vae.eval()


def _perceptual(critic: FashionNet, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of channel-normalised feature maps: LPIPS without learned weights."""
    with torch.no_grad():
        wanted = [F.normalize(maps, dim=1) for maps in critic.maps(target)]
    given = [F.normalize(maps, dim=1) for maps in critic.maps(output)]
    distances = [(a - b).square().sum(1).mean() for a, b in zip(given, wanted, strict=True)]
    return torch.stack(distances).mean()
