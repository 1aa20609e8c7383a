"""Write the trained networks and their reference statistics as the package's assets."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
)
from safetensors.torch import save_file

from mpqbench.metrics.fashion_net import FashionNet
from mpqbench.metrics.features import FeatureNetwork
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import Reference, reference_of

from .data import CLASSES

SUBSET = 5000


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


def save_flow_pipeline(
    transformer: SD3Transformer2DModel, vae: AutoencoderKL, folder: Path
) -> None:
    """Write a ``StableDiffusion3Pipeline`` folder without text encoders, with float16 weights.

    The index is written here, as diffusers makes this pipeline only beside transformers.
    """
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    parts = {"scheduler": scheduler, "transformer": transformer.half(), "vae": vae.half()}
    index: dict[str, Any] = {
        "_class_name": "StableDiffusion3Pipeline",
        "_diffusers_version": diffusers.__version__,
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        index[name] = ["diffusers", type(part).__name__]
    index |= {
        f"{kind}{number}": [None, None]
        for kind in ("text_encoder", "tokenizer")
        for number in ("", "_2", "_3")
    }
    index |= {"feature_extractor": [None, None], "image_encoder": [None, None]}
    text = json.dumps(index, indent=2, sort_keys=True)
    (folder / "model_index.json").write_text(text + "\n", encoding="utf-8")


def save_network(network: FashionNet, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights of a feature network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    kept = {name: v.to(dtype) if v.is_floating_point() else v for name, v in state.items()}
    save_file(kept, path)
    path.chmod(0o644)  # safetensors makes it private to the user


def make_reference(images: torch.Tensor, path: Path, network: FeatureNetwork, seed: int) -> None:
    """Write float64 mean and covariance of all images, and the features of a fixed subset."""
    source = open_images(images.permute(0, 2, 3, 1).contiguous().numpy())
    everything = reference_of(network.extract(source), "embedded", source.digest())
    order = np.random.default_rng(seed).permutation(source.count)[:SUBSET]
    assert everything.features is not None
    kept = everything.features[np.sort(order)]
    save_reference(replace(everything, features=kept), path, network)


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


def save_manifest(folder: Path, model: str, facts: dict) -> None:
    """Write the digest of every asset and the facts of the training of ``model``.

    What the manifest says of the training of other models stays.
    """
    digests = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".json", ".npz", ".safetensors") and path.name != "manifest.json"
    }
    manifest = folder / "manifest.json"
    known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    training = {**known.get("training", {}), model: facts}
    text = json.dumps({"training": training, "sha256": digests}, indent=2, sort_keys=True)
    manifest.write_text(text + "\n", encoding="utf-8")
