"""Trains the embedded models, their autoencoders and feature networks.

Run from the root of the repository:

\b
    python -m tools.train_embedded fashion --work build/embedded
    python -m tools.train_embedded emoji --work build/emoji --data package

Every stage writes checkpoints into the work folder; the same command continues where it stopped.
docs/embedded-model.md and docs/emoji-model.md have the hours and losses of the runs that made the
shipped assets.
"""

from collections.abc import Callable
from pathlib import Path

import click
import torch

from .embedded import emoji, fashion
from .embedded.data import DEBIAN_FOLDER
from .embedded.work import Work

STAGES = ("classifier", "critic", "autoencoder", "transformer", "reference", "export")
FOLDER = click.Path(path_type=Path)


@click.group(help=__doc__)
def main() -> None:
    pass


def training_options(work: str, **steps: int) -> Callable:
    """Add the options of every model, with its default work folder and steps of its stages."""
    options = [
        click.option("--work", "folder", type=FOLDER, default=Path(work), show_default=True,
                     help="Checkpoints and loss curves."),
        click.option("--assets", type=FOLDER, default=Path("mpqbench/assets"), show_default=True,
                     help="Where the result goes."),
        click.option("--stage", "stages", type=click.Choice(STAGES), multiple=True, default=STAGES,
                     help="Only this stage; may be repeated.  [default: all]"),
        click.option("--seed", default=0, show_default=True),
        click.option("--threads", default=2, show_default=True),
        click.option("--device", default="cpu", show_default=True, help="Such as cuda."),
        click.option("--compile/--no-compile", "compiled", default=False, show_default=True,
                     help="Compile the transformer (same mathematics, faster)."),
        click.option("--bfloat16/--float32", default=False, show_default=True,
                     help="Type of matrix products and convolutions; weights stay float32."),
        click.option("--transformer-rate", default=1e-3, show_default=True,
                     help="Peak learning rate."),
        *(click.option(f"--{stage}-steps", default=count, show_default=True)
          for stage, count in steps.items()),
    ]  # fmt: skip

    def add(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@main.command("fashion")
@click.option("--data", type=FOLDER, default=DEBIAN_FOLDER, show_default=True,
              help="Folder of the four IDX files.")  # fmt: skip
@training_options(
    "build/embedded", classifier=2400, critic=900, autoencoder=4500, transformer=10000
)
def train_fashion(data: Path, **options) -> None:
    """Train fashion-dit on Fashion-MNIST."""
    _train(fashion.train, data, options)


@main.command("emoji")
@click.option("--data", type=FOLDER, required=True, multiple=True,
              help="Unpacked npm package of pictures; a second one is a second style.")  # fmt: skip
@training_options("build/emoji", classifier=2000, critic=600, autoencoder=6000, transformer=8400)
def train_emoji(data: tuple[Path, ...], **options) -> None:
    """Train emoji-mmdit on the pictures of emoji-datasource packages."""
    _train(emoji.train, data, options)


def _train(train: Callable, data, options: dict) -> None:
    try:
        train(_prepare(**options), data)
    except FileNotFoundError as error:  # it names the file and what to do
        raise click.ClickException(str(error)) from None


def _prepare(folder: Path, assets: Path, threads: int, **options) -> Work:
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    steps = {name.removesuffix("_steps"): options.pop(name) for name in [*options]
             if name.endswith("_steps")}  # fmt: skip
    return Work(folder=folder, assets=assets, steps=steps, **options)


if __name__ == "__main__":
    main()
