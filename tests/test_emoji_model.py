"""The emoji model and its feature network: complete, loadable, and good enough to use."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mpqbench.cli.cost import cost
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import load_reference

FOLDER = Path(str(files("mpqbench.assets"))) / "emoji-mmdit"
PROTOCOL = PROTOCOLS["quick"].model_copy(update={"sampler": "euler", "features": "emoji"})


@pytest.fixture(scope="module")
def model():
    return load_model("emoji-mmdit")


@pytest.fixture(scope="module")
def network():
    return load_extractor("emoji", None)


@pytest.fixture(scope="module")
def samples(model):
    return next(Sampler(model, PROTOCOL, 0, "cpu").batches(0, 50))


def ranks(network, model, images, prompts):
    pooled = network.extract(open_images(images)).pooled
    return network.ranks(pooled, model.labels[prompts])


def test_most_prompts_are_drawn_so_that_the_network_names_them(model, network, samples):
    """Nine in ten of 50 are named; with the prompts dealt otherwise hardly any is."""
    assert samples.images.shape == (50, 32, 32, 3)
    assert np.mean(ranks(network, model, samples.images, samples.classes) == 0) >= 0.9
    assert np.mean(ranks(network, model, samples.images, samples.classes[::-1]) == 0) <= 0.1


def test_pictures_are_on_white(samples):
    corners = samples.images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.mean(corners > 225) > 0.9


def test_it_loads_as_a_stock_pipeline_with_embeddings(model):
    """Diffusers' own pipeline draws from the embeddings of a prompt what the harness draws."""
    from diffusers import StableDiffusion3Pipeline

    absent = ("text_encoder", "tokenizer", "image_encoder", "feature_extractor")
    names = [n + tail for n in absent[:2] for tail in ("", "_2", "_3")] + list(absent[2:])
    pipeline = StableDiffusion3Pipeline.from_pretrained(FOLDER, **dict.fromkeys(names))
    pipeline.set_progress_bar_config(disable=True)
    own = Sampler(model, PROTOCOL.model_copy(update={"micro_batch": 1}), 0, "cpu")
    noise, _, _ = own.begin(0)
    batch = next(own.batches(0, 1))
    rows = model.transformer.prompts.rows(torch.tensor([batch.classes[0], -1]), torch.zeros(1))
    given, free = rows.embeddings.split(1)
    pooled, pooled_free = rows.pooled.split(1)
    latents = pipeline(
        prompt_embeds=given, pooled_prompt_embeds=pooled, negative_prompt_embeds=free,
        negative_pooled_prompt_embeds=pooled_free, guidance_scale=4.5, num_inference_steps=20,
        latents=noise, height=32, width=32, output_type="latent",
    ).images  # fmt: skip
    shifted = batch.latents - latents.numpy()
    assert np.linalg.norm(shifted) / np.linalg.norm(batch.latents) < 1e-4


def test_held_out_names_are_in_no_trained_prompt():
    lists = json.loads((FOLDER / "words" / "prompts.json").read_text(encoding="utf-8"))
    kinds = ("measured", "trained", "held_out")
    assert [len(lists[kind]) for kind in kinds] == [1000, 1954, 531]
    for part in (0, 1):  # neither a text nor the number of a name
        measured, trained, held_out = ({row[part] for row in lists[kind]} for kind in kinds)
        assert not held_out & (measured | trained)


def test_the_reference_is_of_the_measured_pictures(network):
    reference = load_reference("embedded", network)
    assert reference.count == 1000
    subset = np.cov(reference.features.astype(float), rowvar=False)
    assert np.allclose(subset, reference.pooled.covariance, rtol=0.01, atol=1e-3)


def test_its_cost_counts_the_tokens_of_its_words():
    """Two streams of 16 patches and 8 words: the last block has no output of the words."""
    result = CliRunner().invoke(cost, ["--model", "emoji-mmdit", "--budget", "W8A8", "--json"])
    assert result.exit_code == 0, result.output
    image, text, width = 16, 8, 192**2
    macs = 6 * image * (4 + 8) * width + text * (6 * 3 + 5 * (1 + 8)) * width
    assert json.loads(result.stdout)["bitops_linear"] == 64 * macs
