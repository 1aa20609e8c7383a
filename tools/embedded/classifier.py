"""The feature networks, and the narrower networks of the autoencoders' perceptual loss."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from mpqbench.metrics.fashion_net import FashionNet

from .data import to_unit
from .loop import Stage, TrainingRun

BATCH = 128
Loss = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def train_classifier(
    run: TrainingRun,
    build: Callable[[], FashionNet],
    images: torch.Tensor,
    loss: Loss,
    augment: Augment,
) -> FashionNet:
    """Train what ``build`` makes on changed images.

    ``augment(batch, generator)`` changes a batch (B, C, 32, 32) in [-1, 1], and
    ``loss(network, batch, chosen)`` is of the network for this batch of the images ``chosen``.
    """
    torch.manual_seed(run.seed)
    network = build().to(run.device, memory_format=torch.channels_last)

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        batch = augment(to_unit(images[chosen]), generator)
        batch = batch.to(run.device, memory_format=torch.channels_last)
        return {"total": loss(network, batch, chosen)}

    Stage(run, network, losses, weight_decay=0.05).run()
    return network.cpu().eval()


def shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift a batch by up to two pixels, all images alike.

    Images are not flipped, as all shoes point the same way.
    """
    down, right = torch.randint(-2, 3, (2,), generator=generator).tolist()
    return torch.roll(images, (down, right), dims=(2, 3))


def turn_and_tint(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn, scale, shift and tint each image a little; what comes in at the sides is white.

    Images are not flipped, as some emoji differ only in where they point.
    """
    count = len(images)
    uniform = torch.rand(count, 8, generator=generator) * 2 - 1
    angle, scale = 0.12 * uniform[:, 0], 1 + 0.1 * uniform[:, 1]
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    theta = torch.cat([turn * scale.view(-1, 1, 1), 0.12 * uniform[:, 2:4, None]], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = 1 - F.grid_sample(1 - images, grid, align_corners=False)  # outside is 0, white
    contrast = 1 + 0.15 * uniform[:, 4, None]
    tint = 0.08 * uniform[:, 5:8]
    return moved * contrast[..., None, None] + tint[..., None, None]


@torch.inference_mode()
def accuracy(network: FashionNet, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images (N, C, 32, 32) whose largest logit is their label."""
    network.eval()
    right = 0
    for start in range(0, len(images), 500):
        logits = network(to_unit(images[start : start + 500])).logits
        right += int((logits.argmax(1) == labels[start : start + 500]).sum())
    return right / len(images)
