"""Write the trained networks and their reference statistics as the package's assets."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from safetensors.torch import save_file

from mpqbench.metrics.fashion_net import FashionNet
from mpqbench.metrics.features import FeatureNetwork, load_extractor
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import Reference, reference_of

from .data import CLASSES

SUBSET = 5000
WEIGHTS = "fashion-net.safetensors"


def save_pipeline(
    transformer: DiTTransformer2DModel, vae: AutoencoderKL, scaling: float, folder: Path
) -> None:
    """Write a ``DiTPipeline`` folder with float16 weights."""
    vae.register_to_config(scaling_factor=scaling)
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=2e-2,
        beta_schedule="linear",
        clip_sample=False,
    )
    pipeline = DiTPipeline(transformer.half(), vae.half(), scheduler)
    pipeline.register_to_config(id2label={str(i): name for i, name in enumerate(CLASSES)})
    pipeline.save_pretrained(folder, safe_serialization=True)


def save_network(network: FashionNet, folder: Path) -> None:
    """Write the weights of the feature network, float32."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes it private to the user


def make_reference(images: torch.Tensor, folder: Path, seed: int) -> None:
    """Write float64 mean and covariance of all images, and the features of a fixed subset."""
    network = load_extractor("fashion", str(folder / WEIGHTS))
    source = open_images(images.permute(0, 2, 3, 1).contiguous().numpy())
    everything = reference_of(network.extract(source), "embedded", source.digest())
    order = np.random.default_rng(seed).permutation(source.count)[:SUBSET]
    assert everything.features is not None
    kept = everything.features[np.sort(order)]
    save_reference(replace(everything, features=kept), folder / "reference.npz", network)


def save_reference(reference: Reference, path: Path, extractor: FeatureNetwork) -> None:
    """Write ``reference`` as an ``.npz`` file that names the network that made it."""
    pooled, spatial = reference.pooled, reference.spatial
    arrays = {
        "mu": pooled.mean,
        "sigma": pooled.covariance,
        "extractor": extractor.name,
        "weights": extractor.digest,
        "count": pooled.count,
        "mu_s": spatial and spatial.mean,
        "sigma_s": spatial and spatial.covariance,
        "features": reference.features,
    }
    present: dict[str, Any] = {
        key: np.asarray(value) for key, value in arrays.items() if value is not None
    }
    with open(path, "wb") as stream:  # numpy appends .npz to a name
        np.savez_compressed(stream, **present)


def save_manifest(folder: Path, facts: dict) -> None:
    """Write the digest of every asset and the facts of its training."""
    digests = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".json", ".npz", ".safetensors") and path.name != "manifest.json"
    }
    text = json.dumps({"training": facts, "sha256": digests}, indent=2, sort_keys=True)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
