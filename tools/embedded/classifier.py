"""The feature network, and the narrower network of the autoencoder's perceptual loss."""

import torch
import torch.nn.functional as F

from mpqbench.metrics.fashion_net import FashionNet

from .data import to_unit
from .loop import Stage, TrainingRun

BATCH = 128


def train_classifier(
    run: TrainingRun, images: torch.Tensor, labels: torch.Tensor, *, width: int
) -> FashionNet:
    """Train with cross-entropy on images shifted by up to two pixels.

    Images are not flipped, as all shoes point the same way.
    """
    torch.manual_seed(run.seed)
    network = FashionNet(width).to(memory_format=torch.channels_last)

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        batch = _shift(images[chosen], generator)
        logits = network(to_unit(batch).to(memory_format=torch.channels_last)).logits
        return {"total": F.cross_entropy(logits, labels[chosen])}

    Stage(run, network, losses, weight_decay=0.05).run()
    return network.eval()


def _shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    down, right = torch.randint(-2, 3, (2,), generator=generator).tolist()
    return torch.roll(images, (down, right), dims=(2, 3))


@torch.inference_mode()
def accuracy(network: FashionNet, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images (N, 1, 32, 32) whose largest logit is their label."""
    network.eval()
    right = 0
    for start in range(0, len(images), 500):
        logits = network(to_unit(images[start : start + 500])).logits
        right += int((logits.argmax(1) == labels[start : start + 500]).sum())
    return right / len(images)
