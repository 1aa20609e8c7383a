"""The trainer of the emoji model: reads packages, holds names out, resumes exactly, exports."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from PIL import Image
from safetensors.torch import load_file

from mpqbench.core.errors import BenchError
from mpqbench.metrics.emoji_net import EmojiNetwork
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import load_reference
from tools.embedded import flow
from tools.embedded.classifier import turn_and_tint
from tools.embedded.emoji_data import load_emoji, name_words, read_picture
from tools.embedded.latents import Latents
from tools.embedded.loop import TrainingRun
from tools.embedded.words import Words
from tools.train_embedded import main

COLOURS = {"RED": (255, 0, 0), "GREEN": (0, 255, 0), "BLUE": (0, 0, 255), "GREY": (99, 99, 99)}
SHAPES = ("SQUARE", "CIRCLE", "HEART", "STAR", "ARROW")
TONE = "1F3FB"


@pytest.fixture
def package(tmp_path):
    """A package of 4 x 5 names, the hearts with a skin tone, and of two equal flags."""
    names = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    return write_package(tmp_path / "package", [*names, "CHAD FLAG", "ROMANIA FLAG"])


def write_package(folder, names, style="google"):
    images = folder / "img" / style / "64"
    images.mkdir(parents=True)
    entries = []
    for number, name in enumerate(names):
        code = f"{number:04X}"
        entry = {"name": name, "unified": code, "image": f"{code}.png", "short_name": name.lower()}
        entry["subcategory"] = name.split()[-1].lower()
        rng = np.random.default_rng(99 if "FLAG" in name else number)
        write_picture(images / entry["image"], rng.integers(0, 256, 3))
        if name.endswith("HEART"):
            tones = {TONE: {"image": f"{code}-{TONE}.png"}, f"{TONE}-1F3FC": {"image": "no.png"}}
            write_picture(images / tones[TONE]["image"], rng.integers(0, 256, 3))
            entry["skin_variations"] = tones
        entries.append(entry)
    (folder / "emoji.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def write_picture(path, colour):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = (*colour, 255)
    Image.fromarray(pixels, "RGBA").save(path)


def test_pictures_are_on_white_with_names_tones_and_equal_ones_as_one(package):
    emoji = load_emoji((package,), seed=0)
    assert (emoji.images.shape, emoji.images.dtype) == ((26, 3, 32, 32), torch.uint8)
    assert emoji.images[:, :, 0, 0].min() == 255
    prompts = [picture.prompts[0] for picture in emoji.pictures]
    assert prompts[:4] == ["red square", "red circle", "red heart", "red heart light-skin"]
    by_prompt = {picture.prompts[0]: picture for picture in emoji.pictures}
    assert by_prompt["red heart"].name == by_prompt["red heart light-skin"].name
    assert by_prompt["chad flag"].name == by_prompt["romania flag"].name
    assert (len(emoji.names), emoji.subcategories[0]) == (21, "arrow")
    colour = np.random.default_rng(0).integers(0, 256, 3)
    assert emoji.images[0, :, 16, 16].tolist() == colour.tolist()


def test_transparency_lets_white_through(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 3] = 51  # a fifth of black
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    assert np.abs(read_picture(tmp_path / "a.png").astype(int) - 204).max() <= 1


def test_held_out_names_are_a_tenth_and_have_only_trained_words(package):
    emoji = load_emoji((package,), seed=0)
    held = {picture.prompts[0] for picture in emoji.pictures if picture.held_out}
    assert len({p.name for p in emoji.pictures if p.held_out}) == 2  # of 22 names
    trained = [emoji.pictures[i].prompts[0] for i in emoji.trained]
    assert not held & set(trained)
    for word in {word for prompt in held for word in prompt.split()}:
        assert sum(word in prompt.split() for prompt in trained) >= 2
    assert {p.held_out for p in emoji.pictures if "flag" in p.prompts[0]} == {False}
    other = load_emoji((package,), seed=1)
    assert held != {picture.prompts[0] for picture in other.pictures if picture.held_out}


def test_a_second_style_is_a_word_of_the_prompt(package, tmp_path):
    second = write_package(tmp_path / "second", ["RED SQUARE", "RED CIRCLE"], "twitter")
    with pytest.raises(FileNotFoundError, match="emoji-datasource-google"):
        load_emoji((tmp_path,), seed=0)
    emoji = load_emoji((second, second), seed=0)
    assert emoji.pictures[0].prompts[0] == "red square twitter"
    assert load_emoji((second,), seed=0).pictures[0].prompts[0] == "red square"


def test_a_wrong_folder_is_one_sentence(tmp_path):
    folders = ["--data", str(tmp_path), "--work", str(tmp_path / "work")]
    result = CliRunner().invoke(main, ["emoji", *folders])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {tmp_path} holds no emoji.json with img/STYLE/64: run")


def test_names_become_plain_words():
    assert name_words("PERSON WITH PIÑATA: O'CLOCK-TEN") == ["person", "pinata", "oclock", "ten"]
    assert name_words("KEYCAP *") == ["keycap", "*"]


def test_tokens_and_their_embeddings():
    torch.manual_seed(0)
    words = Words(["blue", "heart"], width=4)
    tokens = torch.stack([words.tokens("Blue heart"), words.tokens("")])
    assert tokens[0].tolist() == [2, 3, 1, 1, 1, 1, 1, 1]
    captions, pooled = words(tokens)
    table = words.table.weight
    torch.testing.assert_close(pooled, torch.stack([(table[2] + table[3]) / 2, table[0]]))
    torch.testing.assert_close(captions[0, 1], table[3] + words.places[1])
    with pytest.raises(ValueError, match="'red' of prompt 'red heart' is not in the vocabulary"):
        words.tokens("red heart")
    with pytest.raises(ValueError, match="9 words, at most 8"):
        words.tokens("blue " * 9)


def test_changed_images_keep_white_sides_and_differ_from_each_other():
    images = torch.ones(4, 3, 32, 32)
    images[:, :, 10:22, 10:22] = -1.0
    changed = turn_and_tint(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    corner, centre = changed[:, :, :2, :2], changed[:, :, 15:17, 15:17]
    assert corner.flatten(1).std(1).max() < 0.1
    assert (corner.mean((1, 2, 3)) - centre.mean((1, 2, 3))).min() > 1.0
    assert (changed[0] - changed[1]).abs().max() > 0.1


def test_the_loss_is_least_for_the_velocity_from_image_to_noise():
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 8, 4, 8, 8).unbind()
    levels = torch.rand(8)
    inputs = []

    def model(latents, levels, tokens):
        inputs.append(latents)
        return noise - clean

    assert float(flow.flow_loss(model, clean, noise, levels, None)) == 0.0
    # A step of size `level` along the velocity leads from the input back to the image.
    back = inputs[0] - levels.view(-1, 1, 1, 1) * (noise - clean)
    torch.testing.assert_close(back, clean, rtol=1e-5, atol=1e-5)


def train_some(folder, before=5):
    torch.manual_seed(before)  # must not matter: the run has a seed
    folder.mkdir(exist_ok=True)
    data = torch.Generator().manual_seed(3)
    means = torch.randn(6, 4, 8, 8, generator=data)
    latents = Latents(means, torch.full_like(means, 0.1), 1.0)
    prompts = [(word,) for word in "abcdef"]
    run = TrainingRun("transformer", folder, 4, 1e-3, seed=2)
    return flow.train_flow(run, Words("abcdef", width=8), latents, prompts)


def test_resumed_weights_are_those_of_an_uninterrupted_training(tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "BATCH", 4)
    monkeypatch.setattr(flow, "BLOCKS", 2)
    whole = train_some(tmp_path / "a").state_dict()
    real, calls = flow.flow_loss, []

    def stop_at_3(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(flow, "flow_loss", stop_at_3)
    with pytest.raises(KeyboardInterrupt):
        train_some(tmp_path / "b")
    assert torch.load(tmp_path / "b" / "transformer.pt", weights_only=True)["step"] == 2
    monkeypatch.setattr(flow, "flow_loss", real)
    resumed = train_some(tmp_path / "b", before=6).state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    start = flow.PromptedTransformer(Words("abcdef", width=8)).state_dict()
    assert not torch.equal(start["words.table.weight"], whole["words.table.weight"])


def test_the_whole_way_from_a_package_to_assets(package, tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "BLOCKS", 2)
    monkeypatch.setattr(flow, "BATCH", 8)
    work, assets = tmp_path / "work", tmp_path / "assets"
    names = ("classifier", "critic", "autoencoder", "transformer")
    steps = [part for name in names for part in (f"--{name}-steps", "2")]
    folders = ["--data", str(package), "--work", str(work), "--assets", str(assets)]
    result = CliRunner().invoke(
        main, ["emoji", *folders, *steps, "--threads", "1"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    folder = assets / "emoji-mmdit"
    transformer = SD3Transformer2DModel.from_pretrained(folder / "transformer")
    assert len(transformer.transformer_blocks) == 2
    stored = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    decoded = vae.float().decode(torch.zeros(1, 4, 8, 8)).sample
    assert decoded.shape == (1, 3, 32, 32)
    assert vae.config.shift_factor != 0.0
    FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    assert index["_class_name"] == "StableDiffusion3Pipeline"
    assert index["text_encoder_3"] == [None, None]
    words = json.loads((folder / "words" / "words.json").read_text(encoding="utf-8"))
    state = load_file(folder / "words" / "embeddings.safetensors")
    assert state["table"].shape == (len(words["words"]), transformer.config.joint_attention_dim)
    prompts = json.loads((folder / "words" / "prompts.json").read_text(encoding="utf-8"))
    for prompt, name in prompts["held_out"] + prompts["trained"]:
        assert set(prompt.split()) <= set(words["words"])
        assert prompts["names"][name].split()[0] in ("chad", *prompt.split())
    check_embedding_by_the_page(folder, words, state, transformer, work)
    manifest = json.loads((assets / "manifest.json").read_text(encoding="utf-8"))
    assert "features/emoji-net.safetensors" in manifest["sha256"]
    assert "scaling_factor" in manifest["training"]["emoji-mmdit"]


def check_embedding_by_the_page(folder, words, state, transformer, work):
    """Embed a prompt as docs/emoji-model.md says: the output is that of the trained model."""
    trained = flow.PromptedTransformer(Words(words["words"][2:]))
    trained.load_state_dict(torch.load(work / "transformer.pt", weights_only=True)["ema"])
    torch.manual_seed(0)
    latents, prompt = torch.randn(1, 4, 8, 8), ["red", "heart"]
    padded = prompt + [words["padding"]] * (words["tokens"] - len(prompt))
    indices = [words["words"].index(word) for word in padded]
    table, places = state["table"].float(), state["places"].float()
    with torch.no_grad():
        given = transformer(
            latents,
            timestep=torch.tensor([300.0]),
            encoder_hidden_states=(table[indices] + places)[None],
            pooled_projections=table[indices[:2]].mean(0)[None],
        ).sample
        tokens = trained.words.tokens("red heart")[None]
        expected = trained(latents, torch.tensor([0.3]), tokens)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(given, expected, rtol=0.01, atol=1e-3 * float(expected.abs().max()))


def test_the_feature_network_ranks_names_and_refuses_grey(package, tmp_path):
    folders = ["--data", str(package), "--work", str(tmp_path), "--assets", str(tmp_path)]
    stages = ["--stage", "classifier", "--stage", "reference", "--classifier-steps", "2"]
    result = CliRunner().invoke(main, ["emoji", *folders, *stages], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    network = EmojiNetwork(tmp_path / "features" / "emoji-net.safetensors")
    emoji = load_emoji((package,), seed=0)
    source = open_images(emoji.images.permute(0, 2, 3, 1).contiguous().numpy())
    features = network.extract(source)
    assert (features.pooled.shape, features.spatial.shape) == ((26, 128), (26, 448))
    assert features.logits.shape == (26, len(emoji.subcategories))
    ranks = network.ranks(features.pooled[:1].repeat(21, 0), np.arange(21))
    assert sorted(ranks.tolist()) == list(range(21))
    reference = load_reference(tmp_path / "features" / "emoji-reference.npz", network)
    assert reference.count == len(emoji.trained)
    with pytest.raises(BenchError, match="one channel"):
        network.prepare(np.zeros((2, 32, 32, 1), np.uint8))
