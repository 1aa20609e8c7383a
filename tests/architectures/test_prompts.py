"""Prompts: a text file and the pipeline's own encoders, or a file of embeddings."""

import json

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from pipelines import save, save_mmdit
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from mpqbench import api
from mpqbench.core.cache import Cache
from mpqbench.core.errors import BenchError
from mpqbench.core.progress import Reporter
from mpqbench.core.protocol import Protocol
from mpqbench.dit.encoding import read_prompts
from mpqbench.dit.loading import load_model
from mpqbench.dit.prompt_files import give_prompts, given_table, read_prompt_embeddings
from mpqbench.dit.sampling import Sampler

TEXTS = ("a red heart", "two cats", "a house")
SMALL = {"images": 6, "steps": 2, "micro_batch": 3, "calibration": 4, "features": "none"}


@pytest.fixture(scope="module")
def with_encoders(tmp_path_factory):
    """A tiny SD3 with two CLIP encoders and tokenizers of single letters; T5 is left out."""
    folder = tmp_path_factory.mktemp("encoders") / "sd3"
    torch.manual_seed(0)
    save_mmdit(folder, joint_attention_dim=32, pooled_projection_dim=24)
    letters = "abcdefghijklmnopqrstuvwxyz"
    entries = [*letters, *(f"{letter}</w>" for letter in letters)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    files = folder / "files"
    files.mkdir()
    (files / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(entries)}))
    (files / "merges.txt").write_text("#version: 0.2\n")
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, **_encoders(files, len(entries)))
    pipeline.save_pretrained(folder)
    return folder


def _encoders(files, words):
    parts = {"text_encoder_3": None, "tokenizer_3": None}
    for number, width in (("", 8), ("_2", 16)):
        config = CLIPTextConfig(
            vocab_size=words, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, projection_dim=width, bos_token_id=words - 2,
            eos_token_id=words - 1, pad_token_id=words - 1,
        )  # fmt: skip
        parts[f"text_encoder{number}"] = CLIPTextModelWithProjection(config)
        parts[f"tokenizer{number}"] = CLIPTokenizer(
            str(files / "vocab.json"), str(files / "merges.txt"), model_max_length=77
        )
    return parts


def test_prompts_of_a_file_are_those_that_the_stock_pipeline_draws(with_encoders, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a red heart\n\n  two cats\na house\n", encoding="utf-8")
    model, cache = load_model(str(with_encoders)), Cache(tmp_path / "cache")
    digest = model.digest
    protocol = Protocol(name="t", sampler="euler", guidance=4.0, prompts=str(file), **SMALL)
    give_prompts(model, given_table(model.name, protocol, cache))
    assert model.transformer.prompts.texts == TEXTS
    assert model.digest != digest
    sampler = Sampler(model, protocol, seed=0, device="cpu")
    (first, second) = sampler.batches(0, 6)
    assert first.classes.tolist() == second.classes.tolist() == [0, 1, 2]
    with torch.inference_mode():
        noise = sampler.begin(0)[0]
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        with_encoders, text_encoder_3=None, tokenizer_3=None
    )
    theirs = pipeline(
        list(TEXTS), height=16, width=16, latents=noise, guidance_scale=4.0,
        num_inference_steps=2, output_type="latent",
    ).images  # fmt: skip
    assert (torch.from_numpy(first.latents) - theirs).norm() < 1e-4 * theirs.norm()


def test_prompts_are_embedded_once(with_encoders, tmp_path, monkeypatch):
    file = tmp_path / "prompts.txt"
    file.write_text("a red heart\n", encoding="utf-8")
    cache = Cache(tmp_path / "cache")
    protocol = Protocol(name="t", sampler="euler", prompts=str(file), **SMALL)
    tables = []
    for _ in range(2):
        model = load_model(str(with_encoders))
        give_prompts(model, given_table(model.name, protocol, cache))
        tables.append(model.transformer.prompts.embeddings)
        monkeypatch.setattr("mpqbench.dit.encoding._encoded", lambda *_: pytest.fail("again"))
    assert torch.equal(*tables)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\n \n", "holds no prompt"), (b"\xff\xfe", "is not UTF-8"), (None, "cannot be read")],
)
def test_a_file_without_prompts_is_refused(tmp_path, content, said):
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BenchError, match=said):
        read_prompts(file)


def test_a_model_of_prompts_needs_some(tmp_path, mpqbench):
    folder, embeddings = save("mmdit", tmp_path / "sd3")
    options = ("--method", "rtn", "--features", "none", "--images", 4, "--out", tmp_path / "out")
    code, _, error = mpqbench("run", "smoke", "--model", folder, *options)
    assert code == 2
    assert "give --prompts or --prompt-embeddings" in error
    code, _, error = mpqbench("run", "smoke", "--model", folder, "--prompts", embeddings, *options)
    assert code == 2
    assert "is not UTF-8" in error


def test_two_kinds_of_prompts_exclude_each_other(tmp_path):
    folder, embeddings = save("mmdit", tmp_path / "sd3")
    protocol = Protocol(name="t", prompts="a", prompt_embeddings=str(embeddings), **SMALL)
    with pytest.raises(BenchError, match="exclude each other"):
        given_table(str(folder), protocol, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("negative_prompt_embeds"), "lacks the tensor negative_prompt_embeds"),
        (lambda s: s.pop("pooled_prompt_embeds"), "lacks the tensor pooled_prompt_embeds"),
        (
            lambda s: s.update(prompt_embeds=s["prompt_embeds"][..., :3].contiguous()),
            "has width 3, the transformer takes 16",
        ),
        (
            lambda s: s.update(pooled_prompt_embeds=s["pooled_prompt_embeds"][:2].contiguous()),
            "has 2 prompts, prompt_embeds 5",
        ),
        (lambda s: s["prompt_embeds"].fill_(float("nan")), "NaN"),
        (
            lambda s: s.update(negative_prompt_embeds=torch.zeros(1, 2, 16)),
            "all but the first number must agree",
        ),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(tmp_path, change, said):
    folder, file = save("mmdit", tmp_path / "sd3")
    state = load_file(file)
    change(state)
    save_file(state, file)
    with pytest.raises(BenchError, match=said):
        read_prompt_embeddings(file, load_model(str(folder)).transformer)


def test_embeddings_are_refused_where_there_is_no_prompt(tiny_folder, tmp_path):
    folder, file = save("mmdit", tmp_path / "sd3")
    with pytest.raises(BenchError, match="takes classes, no prompts"):
        read_prompt_embeddings(file, load_model(str(tiny_folder)).transformer)
    for path, said in ((folder / "no.safetensors", "does not exist"), (folder, "cannot be read")):
        with pytest.raises(BenchError, match=said):
            read_prompt_embeddings(path, load_model(str(folder)).transformer)


def test_other_prompts_are_other_records(tmp_path):
    folder, file = save("mmdit", tmp_path / "sd3")
    settings = {"models": [str(folder)], "methods": ["rtn"], "budgets": ["W4A4"], **SMALL}

    def run():
        out = tmp_path / "out"
        return [
            record.fingerprint
            for record in api.run(
                "smoke", out=out, reporter=Reporter(), prompt_embeddings=str(file), **settings
            )
        ]

    before = run()
    state = load_file(file)
    state["prompt_embeds"] = state["prompt_embeds"] + 1
    save_file(state, file)
    assert not set(run()) & set(before)
