"""The embedded model and its feature network: complete, loadable, and good enough to use."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from mpqbench.core.protocol import PROTOCOLS
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import load_reference

ASSETS = Path(str(files("mpqbench.assets")))


def sample(count, **changes):
    """Images and classes of samples in 10 steps."""
    protocol = PROTOCOLS["quick"].model_copy(update={"steps": 10} | changes)
    batches = list(Sampler(load_model("fashion-dit"), protocol, 0, "cpu").batches(0, count))
    images = np.concatenate([batch.images for batch in batches])
    return images, np.concatenate([batch.classes for batch in batches])


def test_assets_are_the_ones_that_were_shipped_and_small():
    digests = json.loads((ASSETS / "manifest.json").read_text(encoding="utf-8"))["sha256"]
    paths = {str(p.relative_to(ASSETS)): p for p in ASSETS.rglob("*") if p.is_file()}
    assert sum(path.stat().st_size for path in paths.values()) < 40e6
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    assert digests.items() <= found.items()
    extra = {name for name in found.keys() - digests.keys() if not name.endswith((".py", ".pyc"))}
    assert extra == {"manifest.json"}


def test_it_loads_as_a_stock_pipeline():
    from diffusers import DiTPipeline

    pipeline = DiTPipeline.from_pretrained(ASSETS / "fashion-dit")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.get_label_ids(["ankle boot"]) == [9]
    image = pipeline([9], guidance_scale=1.0, num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (32, 32, 1)


def test_samples_are_recognised_and_guidance_changes_them():
    """Without guidance the same noise gives other images, still of the class."""
    images, classes = sample(50)
    logits = load_extractor("fashion", None).extract(open_images(images)).logits
    assert np.mean(logits.argmax(1) == classes) >= 0.8  # the network itself is right in 92%
    plain, _ = sample(20, guidance=1.0)
    difference = np.abs(plain.astype(int) - images[:20].astype(int)).mean()
    assert 1 < difference < 40


def test_the_reference_is_of_the_training_images():
    network = load_extractor("fashion", None)
    reference = load_reference("embedded", network)
    assert (reference.count, reference.features.shape) == (60_000, (5000, 128))
    assert reference.pooled.covariance.dtype == np.float64
    subset = np.cov(reference.features.astype(float), rowvar=False)
    whole = reference.pooled.covariance
    assert np.linalg.norm(subset - whole) / np.linalg.norm(whole) < 0.1
