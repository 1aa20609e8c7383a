"""The CLIP score of a tiny random CLIP, against transformers' own forward, image by image."""

import json
import shutil

import numpy as np
import pytest
import torch
from judging_networks import TOKENS, save_clip
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPProcessor

from mpqbench.core.errors import BenchError
from mpqbench.metrics.clip_score import ClipScorer

PROMPTS = ("a red heart", "two cats", "x", "a house by a lake")  # the last has over 12 tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture(scope="module")
def scorer(folder):
    return ClipScorer(folder)


def smooth(count, *shape):
    """Images of large patches, which do not all look alike to the network."""
    height, width, channels = shape
    rng = np.random.default_rng(3)
    patches = rng.integers(0, 256, (count, height // 8, width // 8, channels), dtype=np.uint8)
    return patches.repeat(8, axis=1).repeat(8, axis=2)


@torch.inference_mode()
def plain_score(folder, image, prompt):
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    picture = Image.fromarray(image)
    inputs = processor(text=[prompt], images=picture, return_tensors="pt", truncation=True)
    cosine = model(**inputs).logits_per_image / model.logit_scale.exp()
    return max(100 * cosine.item(), 0.0)


def test_the_score_is_that_of_each_image_and_its_prompt(folder, scorer):
    images, index = smooth(9, 32, 48, 3), np.array([0, 1, 2, 3, 0, 1, 2, 3, 0])
    expected = [plain_score(folder, i, PROMPTS[k]) for i, k in zip(images, index, strict=True)]
    assert min(expected) == 0.0
    assert max(expected) > 1.0
    done = []
    batches = [(images[:5], index[:5]), (images[5:], index[5:])]
    found = scorer.scores(batches, PROMPTS, done.append)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert done == [5, 4]


def test_grey_images_are_repeated_over_three_channels(folder, scorer):
    images, index = smooth(3, 24, 24, 1), np.array([0, 1, 2])
    expected = [
        plain_score(folder, image.repeat(3, axis=2), PROMPTS[at])
        for at, image in enumerate(images)
    ]  # fmt: skip
    found = scorer.scores([(images, index)], PROMPTS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert max(expected) > 0


def test_prompts_that_are_cut_are_told(scorer):
    assert scorer.notes(PROMPTS[:3]) == []
    assert scorer.notes(PROMPTS) == [
        f"the CLIP score reads only the first {TOKENS} tokens of 1 of 4 prompts"
    ]


def test_the_digest_is_that_of_weights_and_processor(folder, scorer, tmp_path):
    other = shutil.copytree(folder, tmp_path / "same")
    assert ClipScorer(other).digest == scorer.digest
    file = other / "model.safetensors"
    state = load_file(file)
    state["visual_projection.weight"] += 1
    save_file(state, file, {"format": "pt"})
    changed = ClipScorer(other).digest
    config = other / "processor_config.json"
    facts = json.loads(config.read_text())
    facts["image_processor"]["do_center_crop"] = False
    config.write_text(json.dumps(facts))
    assert len({scorer.digest, changed, ClipScorer(other).digest}) == 3


@pytest.mark.parametrize("values", [None, torch.full((8, 16), torch.nan), torch.ones(2, 2)])
def test_weights_that_are_not_whole_are_refused(folder, tmp_path, values, capsys):
    other = shutil.copytree(folder, tmp_path / "other")
    state = load_file(other / "model.safetensors")
    del state["visual_projection.weight"]
    if values is not None:
        state["visual_projection.weight"] = values
    save_file(state, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(BenchError, match=r"--clip .*other cannot be loaded as a CLIP") as raised:
        ClipScorer(other)
    if values is None:
        assert "the weights lack visual_projection.weight" in str(raised.value)
    assert capsys.readouterr().err == ""


def test_a_folder_without_a_clip_and_a_missing_package_are_named(folder, tmp_path, monkeypatch):
    with pytest.raises(BenchError, match=r"--clip .* is no folder of a CLIP: it needs config.json"):
        ClipScorer(tmp_path)
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "processor_config.json").unlink()
    with pytest.raises(BenchError, match="cannot be loaded as a CLIP"):
        ClipScorer(other)
    monkeypatch.setattr("mpqbench.core.packages.find_spec", lambda name: None)
    with pytest.raises(BenchError, match=r"--clip needs the package transformers"):
        ClipScorer(folder)
