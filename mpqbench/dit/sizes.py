"""The size of images, where an architecture leaves it open."""

from typing import Any

from ..core.errors import BenchError
from .architectures import architecture_of


def image_scale(autoencoder: Any) -> int:
    """Return how many pixels a side one latent stands for; ``autoencoder`` is a configuration."""
    config = dict(autoencoder)
    blocks = config.get("block_out_channels") or config["decoder_block_out_channels"]
    return int(2 ** (len(blocks) - 1))


def set_image_size(transformer: Any, pixels: int | None, scale: int) -> None:
    """Have a transformer make images of ``pixels`` a side; ``None`` for its own size.

    A latent is ``scale`` times smaller. Raises BenchError for a size that it cannot make.
    """
    architecture = architecture_of(transformer)
    vars(transformer).pop("latent_side", None)
    if pixels is None:
        return
    sides = architecture.latent_sides(transformer)
    if pixels % scale or pixels // scale not in sides:
        least, most, step = (side * scale for side in (sides[0], sides[-1], sides.step))
        several = f"multiples of {step} from {least} to {most}"
        right = several if len(sides) > 1 else f"{least} alone, its own size"
        raise BenchError(
            f"image_size {pixels} is not for a {type(transformer).__name__}: this one makes images "
            f"of {right}"
        )
    transformer.latent_side = pixels // scale
