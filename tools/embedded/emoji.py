"""The stages of ``emoji-mmdit``."""

import json
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

from mpqbench.metrics.emoji_net import EmojiNet, EmojiNetwork

from . import export
from .autoencoder import build_autoencoder, train_autoencoder
from .classifier import train_classifier, turn_and_tint
from .emoji_data import EmojiSet, load_emoji
from .flow import PromptedTransformer, train_flow
from .latents import encode_all
from .words import Words
from .work import Work

WIDTHS = {"classifier": 32, "critic": 16}
AUTOENCODER_WIDTHS = (24, 48, 96)
MODEL = "emoji-mmdit"
MEASURED = 1000  # prompts, of which a protocol of 1,000 images draws each once


def train(work: Work, data: tuple[Path, ...]) -> None:
    """Run the chosen stages on the pictures of unpacked packages ``data``, one per style."""
    emoji = load_emoji(data, work.seed)
    trained = emoji.trained
    click.echo(
        f"emoji: {len(trained)} pictures to train on, {len(emoji.images) - len(trained)} held out"
    )
    for stage, seed in (("classifier", work.seed), ("critic", work.seed + 1)):
        if stage in work.stages:
            _classify(work, emoji, stage, seed)
    if "autoencoder" in work.stages:
        critic = work.load(build_network(emoji, "critic"), "critic")
        run = work.run("autoencoder", 1e-3)
        train_autoencoder(run, build_vae, emoji.images[trained], critic)
    if "transformer" in work.stages:
        vae = work.load(build_vae(), "autoencoder")
        latents = encode_all(vae, emoji.images[trained], centred=True, device=work.device)
        work.note("scaling", [latents.scaling, latents.shift])
        run = work.run("transformer", work.transformer_rate)
        prompts = [emoji.pictures[i].prompts for i in trained]
        train_flow(run, Words(emoji.vocabulary()), latents, prompts, work.compiled)
    if "reference" in work.stages:
        folder = work.assets / "features"
        weights = folder / "emoji-net.safetensors"
        trained_network = work.load(build_network(emoji, "classifier"), "classifier")
        export.save_network(trained_network, weights, torch.float16)
        network = EmojiNetwork(weights)
        images = emoji.images[listed(emoji, work.seed)["measured"]]
        export.make_reference(images, folder / "emoji-reference.npz", network, work.seed)
    if "export" in work.stages:
        _export(work, emoji)


def build_vae():
    """Build the autoencoder of three channels."""
    return build_autoencoder(AUTOENCODER_WIDTHS, channels=3)


def build_network(emoji: EmojiSet, stage: str) -> EmojiNet:
    """Build the feature network (``classifier``) or the narrower ``critic``."""
    return EmojiNet(WIDTHS[stage], len(emoji.subcategories), len(emoji.names))


def _classify(work: Work, emoji: EmojiSet, stage: str, seed: int) -> None:
    """Train on all pictures: prompts with held-out names have to be recognized as well."""
    labels = emoji.labels.to(work.device)

    def loss(network: EmojiNet, batch: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        outputs = network(batch)
        subcategory, name = labels[chosen.to(work.device)].T
        names = F.cross_entropy(network.names(outputs.pooled), name)
        return names + F.cross_entropy(outputs.logits, subcategory)

    train_classifier(
        work.run(stage, 2e-3, seed),
        lambda: build_network(emoji, stage),
        emoji.images,
        loss,
        turn_and_tint,
    )


def _export(work: Work, emoji: EmojiSet) -> None:
    vae = work.load(build_vae(), "autoencoder")
    model = work.load(PromptedTransformer(Words(emoji.vocabulary())), "transformer")
    scaling, shift = work.noted("scaling")
    vae.register_to_config(scaling_factor=scaling, shift_factor=shift)
    folder = work.assets / MODEL
    export.save_flow_pipeline(model.transformer, vae, folder)
    model.words.save(folder / "words")
    _save_prompts(emoji, folder / "words" / "prompts.json", work.seed)
    facts = {"curves": work.curves(), "scaling_factor": scaling, "shift_factor": shift}
    export.save_manifest(work.assets, MODEL, facts)


def _save_prompts(emoji: EmojiSet, path: Path, seed: int) -> None:
    """Write the lists of prompts, each with the index of its name."""
    lists = {
        kind: [[emoji.pictures[i].prompts[0], emoji.pictures[i].name] for i in indices]
        for kind, indices in listed(emoji, seed).items()
    }
    facts = {**lists, "names": emoji.names, "subcategories": emoji.subcategories}
    path.write_text(json.dumps(facts) + "\n", encoding="utf-8")


def listed(emoji: EmojiSet, seed: int) -> dict[str, list[int]]:
    """Return the pictures in a seeded order: trained and measured, other trained, held-out ones."""
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(emoji.pictures))]
    trained = [i for i in order if not emoji.pictures[i].held_out]
    held_out = [i for i in order if emoji.pictures[i].held_out]
    return {"measured": trained[:MEASURED], "trained": trained[MEASURED:], "held_out": held_out}
