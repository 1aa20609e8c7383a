"""Prints the FD of the autoencoder's reconstructions, and of other real images to compare with.

Run from the root of the repository:

    python -m tools.check_autoencoder
"""

from pathlib import Path

import click
import torch

from mpqbench.dit.loading import load_model
from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.frechet import Moments
from mpqbench.metrics.images import open_images

from .embedded.data import DEBIAN_FOLDER, load_split, to_unit

REFERENCE, COUNT = 10_000, 1000


@torch.inference_mode()
def reconstruct(vae, images: torch.Tensor) -> torch.Tensor:
    """Encode and decode uint8 images (n, 1, 32, 32)."""
    parts = []
    for batch in images.split(250):
        output = vae.decode(vae.encode(to_unit(batch)).latent_dist.mean).sample
        parts.append(((output / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(parts)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=DEBIAN_FOLDER, show_default=True)
def main(data: Path) -> None:
    images, _ = load_split(data, "train")
    network = load_extractor("fashion", None)

    def gaussian(batch: torch.Tensor):
        source = open_images(batch.permute(0, 2, 3, 1).contiguous().numpy())
        features = network.extract(source).pooled
        return Moments.of(features).gaussian()

    reference = gaussian(images[:REFERENCE])
    held = images[2 * REFERENCE : 2 * REFERENCE + COUNT]
    click.echo(f"FD of {COUNT} other images: {reference.distance(gaussian(held)):.3f}")
    made = reconstruct(load_model("fashion-dit").vae, held)
    click.echo(f"FD of their reconstructions: {reference.distance(gaussian(made)):.3f}")


if __name__ == "__main__":
    main()
