"""Trains the embedded model, its autoencoder and the feature network on Fashion-MNIST.

Run from the root of the repository:

    python -m tools.train_embedded --work build/embedded

Every stage writes checkpoints into the work folder; the same command continues where it stopped.
docs/embedded-model.md has the hours and losses of the run that made the shipped assets.
"""

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
from .embedded.diffusion import Denoiser, Latents, build_transformer, train_transformer
from .embedded.loop import TrainingRun

STAGES = ("classifier", "critic", "autoencoder", "transformer", "reference", "export")
FEATURES_WIDTH, CRITIC_WIDTH = 32, 16


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
def main(data: Path, work: Path, assets: Path, stages: tuple[str, ...], **options) -> None:
    torch.set_num_threads(options["threads"])
    work.mkdir(parents=True, exist_ok=True)
    images, labels = load_split(data, "train")
    seed = options["seed"]

    def run(stage: str, rate: float, seed: int = seed) -> TrainingRun:
        return TrainingRun(stage, work, options[f"{stage}_steps"], rate, seed)

    if "classifier" in stages:
        network = train_classifier(run("classifier", 2e-3), images, labels, width=FEATURES_WIDTH)
        test_accuracy = accuracy(network, *load_split(data, "t10k"))
        click.echo(f"classifier: test accuracy {test_accuracy:.4f}")
        (work / "accuracy.json").write_text(json.dumps(test_accuracy), encoding="utf-8")
    if "critic" in stages:
        train_classifier(run("critic", 2e-3, seed + 1), images, labels, width=CRITIC_WIDTH)
    if "autoencoder" in stages:
        critic = _load(FashionNet(CRITIC_WIDTH), work / "critic.pt")
        train_autoencoder(run("autoencoder", 1e-3), images, critic)
    if "transformer" in stages:
        vae = _load(build_autoencoder(), work / "autoencoder.pt")
        means, deviations = encode_all(vae, images)
        scaling = _scaling(means, deviations)
        (work / "scaling.json").write_text(json.dumps(scaling), encoding="utf-8")
        latents = Latents(means, deviations, labels, scaling)
        rate = options["transformer_rate"]
        train_transformer(run("transformer", rate), latents, options["compiled"])
    if "reference" in stages:
        network = _load(FashionNet(FEATURES_WIDTH), work / "classifier.pt")
        export.save_network(network, assets / "features")
        export.make_reference(images, assets / "features", seed)
    if "export" in stages:
        _export(work, assets)


def _export(work: Path, assets: Path) -> None:
    vae = _load(build_autoencoder(), work / "autoencoder.pt")
    transformer = _load(Denoiser(build_transformer()), work / "transformer.pt").untie()
    scaling = json.loads((work / "scaling.json").read_text(encoding="utf-8"))
    export.save_pipeline(transformer, vae, scaling, assets / "fashion-dit")
    facts = {"curves": _curves(work), "scaling_factor": scaling}
    facts["classifier_test_accuracy"] = json.loads(
        (work / "accuracy.json").read_text(encoding="utf-8")
    )
    export.save_manifest(assets, facts)
    total = sum(path.stat().st_size for path in assets.rglob("*") if path.is_file())
    click.echo(f"assets: {total / 1e6:.1f} MB in {assets}")


def _load(module: torch.nn.Module, checkpoint: Path):
    """Load the averaged weights of a finished stage, or the last ones where it has no average."""
    if not checkpoint.exists():
        stage = checkpoint.stem
        raise click.ClickException(f"{checkpoint} is missing: run --stage {stage} first")
    state = torch.load(checkpoint, weights_only=True)
    module.load_state_dict(state["ema"] or state["model"])
    return module.eval()


def _scaling(means: torch.Tensor, deviations: torch.Tensor) -> float:
    """Return 1 / standard deviation of the latents, which scales them to unit variance."""
    return float(1.0 / (means.var() + deviations.square().mean()).sqrt())


def _curves(work: Path) -> dict[str, dict[str, float]]:
    """Return the last line of every stage's loss curve: steps, seconds, losses."""
    curves = {}
    for log in sorted(work.glob("*.csv")):
        with log.open() as stream:
            curves[log.stem] = {k: float(v) for k, v in list(csv.DictReader(stream))[-1].items()}
    return curves


if __name__ == "__main__":
    main()
