"""Writes the trained networks and their reference statistics as the package's assets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from safetensors.torch import save_file

from mpqbench.metrics.fashion_net import FashionNet

from .data import CLASSES, to_unit

SUBSET = 5000


def save_pipeline(
    transformer: DiTTransformer2DModel, vae: AutoencoderKL, scaling: float, folder: Path
) -> None:
    """A normal ``DiTPipeline`` folder with float16 weights."""
    vae.register_to_config(scaling_factor=scaling)
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=2e-2,
        beta_schedule="linear",
        clip_sample=False,
    )
    names = dict(enumerate(CLASSES))
    pipeline = DiTPipeline(transformer.half(), vae.half(), scheduler, id2label=names)
    pipeline.save_pretrained(folder, safe_serialization=True)


def save_network(network: FashionNet, folder: Path) -> None:
    """The judge's weights, float32."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "fashion-net.safetensors")


@torch.inference_mode()
def save_reference(network: FashionNet, images: torch.Tensor, folder: Path, seed: int) -> None:
    """Float64 mean and covariance over all images, and the features of a fixed subset."""
    network.eval()
    pooled, spatial = [], []
    for start in range(0, len(images), 500):
        features = network(to_unit(images[start : start + 500]))
        pooled.append(features.pooled.double().numpy())
        spatial.append(features.spatial.double().numpy())
    all_pooled, all_spatial = np.concatenate(pooled), np.concatenate(spatial)
    order = np.random.default_rng(seed).permutation(len(images))[:SUBSET]
    np.savez_compressed(
        folder / "reference.npz",
        mu=all_pooled.mean(0),
        sigma=np.cov(all_pooled, rowvar=False),
        mu_s=all_spatial.mean(0),
        sigma_s=np.cov(all_spatial, rowvar=False),
        count=len(images),
        features=all_pooled[np.sort(order)].astype(np.float32),
    )


def save_manifest(folder: Path, facts: dict) -> None:
    """Digest of every asset and the facts of its training."""
    digests = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    text = json.dumps({"training": facts, "sha256": digests}, indent=2, sort_keys=True)
    (folder / "manifest.json").write_text(text + "\n")
