"""The stages of ``fashion-dit``."""

from pathlib import Path

import click
import torch.nn.functional as F

from mpqbench.metrics.fashion_net import FashionNet
from mpqbench.metrics.features import load_extractor

from . import export
from .autoencoder import build_autoencoder, train_autoencoder
from .classifier import accuracy, shift, train_classifier
from .data import load_split
from .diffusion import Denoiser, build_transformer, train_transformer
from .latents import encode_all
from .work import Work

WIDTHS = {"classifier": 32, "critic": 16}


def train(work: Work, data: Path) -> None:
    """Run the chosen stages on the IDX files in ``data``."""
    images, labels = load_split(data, "train")

    def classify(stage: str, seed: int) -> FashionNet:
        return train_classifier(
            work.run(stage, 2e-3, seed),
            lambda: FashionNet(WIDTHS[stage]),
            images,
            lambda network, batch, chosen: F.cross_entropy(
                network(batch).logits, labels[chosen].to(work.device)
            ),
            shift,
        )

    if "classifier" in work.stages:
        network = classify("classifier", work.seed)
        test_accuracy = accuracy(network, *load_split(data, "t10k"))
        click.echo(f"classifier: test accuracy {test_accuracy:.4f}")
        work.note("accuracy", test_accuracy)
    if "critic" in work.stages:
        classify("critic", work.seed + 1)
    if "autoencoder" in work.stages:
        critic = work.load(FashionNet(WIDTHS["critic"]), "critic")
        train_autoencoder(work.run("autoencoder", 1e-3), build_autoencoder, images, critic)
    if "transformer" in work.stages:
        vae = work.load(build_autoencoder(), "autoencoder")
        latents = encode_all(vae, images, device=work.device)
        work.note("scaling", latents.scaling)
        run = work.run("transformer", work.transformer_rate)
        train_transformer(run, latents, labels, work.compiled)
    if "reference" in work.stages:
        folder = work.assets / "features"
        weights = folder / "fashion-net.safetensors"
        export.save_network(work.load(FashionNet(WIDTHS["classifier"]), "classifier"), weights)
        network = load_extractor("fashion", str(weights))
        export.make_reference(images, folder / "reference.npz", network, work.seed)
    if "export" in work.stages:
        _export(work)


def _export(work: Work) -> None:
    vae = work.load(build_autoencoder(), "autoencoder")
    transformer = work.load(Denoiser(build_transformer()), "transformer").untie()
    scaling = work.noted("scaling")
    export.save_pipeline(transformer, vae, scaling, work.assets / "fashion-dit")
    facts = {"curves": work.curves(), "scaling_factor": scaling}
    facts["classifier_test_accuracy"] = work.noted("accuracy")
    export.save_manifest(work.assets, "fashion-dit", facts)
