"""Writes picture grids of the emoji model and prints how well it draws what was asked for.

Run from the root of the repository, with the work folder of the training:

    python -m tools.check_emoji --data package --work build/emoji --out build/emoji/grids

The autoencoder's grid has originals and their reconstructions in turn; the transformer's ones have
real pictures and samples for the same prompts in turn: those that are measured, of which the
reference is made, other trained ones, and held-out names. What is not trained yet is left out.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image

from mpqbench.metrics.emoji_net import EmojiNet
from mpqbench.metrics.frechet import Moments

from .embedded.data import to_unit
from .embedded.emoji import build_network, build_vae, listed
from .embedded.emoji_data import EmojiSet, load_emoji
from .embedded.flow import PromptedTransformer
from .embedded.words import Words
from .embedded.work import Work

COLUMNS, ROWS, SCALE = 12, 4, 3
FEWER_STEPS = (10, 5, 3)
NOISE = (0.05, 0.1, 0.2)  # standard deviations, of pixels in -1 to 1


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), required=True, multiple=True)
@click.option("--work", "folder", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--count", default=256, show_default=True, help="Samples of each kind.")
@click.option("--steps", default=20, show_default=True)
@click.option("--guidance", default=4.5, show_default=True)
@click.option("--seed", default=0, show_default=True, help="That of the training.")
@torch.inference_mode()
def main(data: tuple[Path, ...], folder: Path, out: Path, count: int, **options) -> None:
    out.mkdir(parents=True, exist_ok=True)
    work = Work(folder, seed=options["seed"])
    emoji = load_emoji(data, options["seed"])
    judge = work.load(build_network(emoji, "classifier"), "classifier")
    kinds = listed(emoji, options["seed"])
    pooled = _pooled(judge, emoji.images[kinds["measured"]])
    reference = Moments.of(pooled.numpy()).gaussian()

    def judged(title: str, images: torch.Tensor, chosen: list[int]) -> None:
        features = _pooled(judge, images)
        logits = judge.names(features)
        asked = logits.gather(1, emoji.labels[chosen][:, 1:])
        rank = (logits > asked).sum(1)
        top1, top5 = (float((rank < n).float().mean()) for n in (1, 5))
        distance = reference.distance(Moments.of(features.numpy()).gaussian())
        click.echo(
            f"{title}: {len(images)} images, FD {distance:.2f}, prompt accuracy {top1:.3f} top-1, "
            f"{top5:.3f} top-5"
        )

    def compared(title: str, made: torch.Tensor, chosen: list[int]) -> None:
        judged(title, made, chosen)
        _grid(emoji.images[chosen], made, out / f"{re.sub('[ _]', '-', title)}.png")

    for kind, indices in kinds.items():
        judged(f"{kind} real", emoji.images[indices], indices)
    for change, images in _changed(emoji.images[kinds["measured"]]):
        judged(f"measured real, {change}", images, kinds["measured"])
    if not (folder / "autoencoder.pt").exists():
        return
    vae = work.load(build_vae(), "autoencoder")
    for kind, indices in kinds.items():
        compared(f"{kind} reconstructed", _reconstruct(vae, emoji.images[indices]), indices)
    if not (folder / "transformer.pt").exists():
        return
    model = work.load(PromptedTransformer(Words(emoji.vocabulary())), "transformer")
    scaling, shift = work.noted("scaling")
    for kind, indices in kinds.items():
        chosen = indices[:count]
        latents = _sample(model, emoji, chosen, options["steps"], options["guidance"])
        made = _decode(vae, latents / scaling + shift)
        compared(f"{kind} sampled", made, chosen)
        judged(f"{kind} sampled, judged by other prompts", made, chosen[1:] + chosen[:1])
    chosen = kinds["measured"][:count]
    for steps in FEWER_STEPS:
        latents = _sample(model, emoji, chosen, steps, options["guidance"])
        judged(f"measured sampled, {steps} steps", _decode(vae, latents / scaling + shift), chosen)


def _changed(images: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield degraded pictures (N, 3, 32, 32) uint8 with the name of the change."""
    pixels = to_unit(images)
    blurred = F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
    yield "mixed equally with their blur", _to_bytes((pixels + blurred) / 2)
    yield "blur of 3 x 3 pixels", _to_bytes(blurred)
    yield "half the resolution", _to_bytes(F.interpolate(F.avg_pool2d(pixels, 2), scale_factor=2))
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    for deviation in NOISE:
        yield f"noise of {deviation:g}", _to_bytes(pixels + deviation * noise)


def _sample(
    model: PromptedTransformer, emoji: EmojiSet, chosen: list[int], steps: int, guidance: float
) -> torch.Tensor:
    """Return latents for the prompts of pictures: Euler steps with classifier-free guidance."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(len(chosen), 4, 8, 8, generator=generator)
    tokens = torch.stack([model.words.tokens(emoji.pictures[i].prompts[0]) for i in chosen])
    null = model.words.tokens("").expand_as(tokens)
    levels = torch.linspace(1, 0, steps + 1)
    for level, following in pairwise(levels):
        both = torch.cat([latents, latents]), level.expand(2 * len(chosen))
        given, free = model(*both, torch.cat([tokens, null])).chunk(2)
        latents = latents + (following - level) * (free + guidance * (given - free))
    return latents


def _reconstruct(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    latents = [vae.encode(to_unit(batch)).latent_dist.mean for batch in images.split(250)]
    return _decode(vae, torch.cat(latents))


def _decode(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Decode latents to uint8 images (N, 3, 32, 32)."""
    return _to_bytes(torch.cat([vae.decode(batch).sample for batch in latents.split(250)]))


def _to_bytes(outputs: torch.Tensor) -> torch.Tensor:
    """Round pixels in -1 to 1 to uint8."""
    return ((outputs / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def _pooled(judge: EmojiNet, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([judge(to_unit(batch)).pooled for batch in images.split(250)])


def _grid(real: torch.Tensor, made: torch.Tensor, path: Path) -> None:
    """Write rows of real pictures, each above the row of those made for them."""
    count = min(COLUMNS * ROWS, len(real) // COLUMNS * COLUMNS)
    rows = [part[:count].view(-1, COLUMNS, 3, 32, 32) for part in (real, made)]
    tiles = torch.stack(rows, dim=1).permute(0, 1, 4, 2, 5, 3)
    pixels = tiles.reshape(-1, COLUMNS * 32, 3).numpy()
    size = (pixels.shape[1] * SCALE, pixels.shape[0] * SCALE)
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main()
