"""Trains the embedded model, its autoencoder and the feature network on Fashion-MNIST.

Run from the root of the repository:

    python -m tools.train_embedded --work build/embedded

Every stage writes checkpoints into the work folder; the same command goes on where it stopped.
Docs: docs/embedded-model.md tells the hours and losses of the run that made the shipped assets.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import click
import torch

from mpqbench.metrics.fashion_net import FashionNet

from .embedded import export
from .embedded.autoencoder import build_autoencoder, encode_all, train_autoencoder
from .embedded.classifier import accuracy, train_classifier
from .embedded.data import DEBIAN_FOLDER, load_split
from .embedded.diffusion import Denoiser, build_transformer, train_transformer

STAGES = ("classifier", "critic", "autoencoder", "transformer", "reference", "export")
JUDGE_WIDTH, CRITIC_WIDTH = 32, 16


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=DEBIAN_FOLDER, show_default=True,
              help="Folder of the four IDX files.")  # fmt: skip
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/embedded"),
              show_default=True, help="Checkpoints and loss curves.")  # fmt: skip
@click.option("--assets", type=click.Path(path_type=Path), default=Path("mpqbench/assets"),
              show_default=True, help="Where the result goes.")  # fmt: skip
@click.option("--stage", "stages", type=click.Choice(STAGES), multiple=True, default=STAGES,
              help="Only this stage; may be repeated.  [default: all]")  # fmt: skip
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--compile/--no-compile", "compiled", default=False, show_default=True,
              help="Compile the transformer (same mathematics, faster).")  # fmt: skip
@click.option("--classifier-steps", default=2400, show_default=True)
@click.option("--critic-steps", default=900, show_default=True)
@click.option("--autoencoder-steps", default=4500, show_default=True)
@click.option("--transformer-steps", default=10000, show_default=True)
@click.option("--transformer-rate", default=1e-3, show_default=True, help="Peak learning rate.")
def main(data, work, assets, stages, seed, threads, compiled, transformer_rate, **steps) -> None:
    torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    images, labels = load_split(data, "train")
    if "classifier" in stages:
        judge = train_classifier("classifier", images, labels, width=JUDGE_WIDTH, seed=seed,
                                 steps=steps["classifier_steps"], folder=work)  # fmt: skip
        test_accuracy = accuracy(judge, *load_split(data, "t10k"))
        click.echo(f"classifier: test accuracy {test_accuracy:.4f}")
        (work / "accuracy.json").write_text(json.dumps(test_accuracy))
    if "critic" in stages:
        train_classifier("critic", images, labels, width=CRITIC_WIDTH,
                         steps=steps["critic_steps"], seed=seed + 1, folder=work)  # fmt: skip
    if "autoencoder" in stages:
        critic = _load(FashionNet(CRITIC_WIDTH), work / "critic.pt")
        train_autoencoder(images, critic, steps=steps["autoencoder_steps"], seed=seed, folder=work)
    if "transformer" in stages:
        vae = _load(build_autoencoder(), work / "autoencoder.pt")
        means, deviations = encode_all(vae, images)
        scaling = _scaling(means, deviations)
        (work / "scaling.json").write_text(json.dumps(scaling))
        train_transformer(means, deviations, labels, scaling,
                          steps=steps["transformer_steps"], rate=transformer_rate, seed=seed,
                          folder=work, compiled=compiled)  # fmt: skip
    if "reference" in stages:
        judge = _load(FashionNet(JUDGE_WIDTH), work / "classifier.pt")
        export.save_network(judge, assets / "features")
        export.make_reference(images, assets / "features", seed)
    if "export" in stages:
        _export(work, assets)


def _export(work: Path, assets: Path) -> None:
    vae = _load(build_autoencoder(), work / "autoencoder.pt")
    transformer = _load(Denoiser(build_transformer()), work / "transformer.pt").untie()
    scaling = json.loads((work / "scaling.json").read_text())
    export.save_pipeline(transformer, vae, scaling, assets / "fashion-dit")
    facts = {"curves": _curves(work), "scaling_factor": scaling}
    facts["classifier_test_accuracy"] = json.loads((work / "accuracy.json").read_text())
    export.save_manifest(assets, facts)
    total = sum(path.stat().st_size for path in assets.rglob("*") if path.is_file())
    click.echo(f"assets: {total / 1e6:.1f} MB in {assets}")


def _load(module: torch.nn.Module, checkpoint: Path):
    """The averaged weights of a finished stage, or its last ones where it keeps no average."""
    if not checkpoint.exists():
        stage = checkpoint.stem
        raise click.ClickException(f"{checkpoint} is missing: run --stage {stage} first")
    state = torch.load(checkpoint, weights_only=True)
    module.load_state_dict(state["ema"] or state["model"])
    return module.eval()


def _scaling(means: torch.Tensor, deviations: torch.Tensor) -> float:
    """1 / standard deviation of the latents, so that the diffusion sees unit variance."""
    return float(1.0 / (means.var() + deviations.square().mean()).sqrt())


def _curves(work: Path) -> dict[str, dict[str, float]]:
    """Last line of every stage's loss curve: steps, seconds, losses."""
    curves = {}
    for log in sorted(work.glob("*.csv")):
        with log.open() as stream:
            curves[log.stem] = {k: float(v) for k, v in list(csv.DictReader(stream))[-1].items()}
    return curves


if __name__ == "__main__":
    main()
