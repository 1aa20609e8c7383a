"""Prompts through FLUX's own text encoders: CLIP for the pooled embedding, T5 for the others."""

import json

import torch
from diffusers import FluxPipeline
from pipelines import save_flux
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from mpqbench.core.protocol import Protocol
from mpqbench.dit.loading import load_model
from mpqbench.dit.prompt_files import give_prompts, given_table
from mpqbench.dit.sampling import Sampler

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXTS = ["a red heart", "two cats", "a house"]


def encoders(folder):
    """Both tokenizers, of single letters, and random encoders."""
    entries = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    words = len(entries)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(entries)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    clip = CLIPTextConfig(
        vocab_size=words, hidden_size=24, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, bos_token_id=words - 2, eos_token_id=words - 1,
        pad_token_id=words - 1,
    )  # fmt: skip
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *LETTERS]
    t5 = T5Config(vocab_size=len(pieces), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return {
        "text_encoder": CLIPTextModel(clip),
        "tokenizer": CLIPTokenizer(
            str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
        ),
        "text_encoder_2": T5EncoderModel(t5),
        "tokenizer_2": T5TokenizerFast(
            vocab=[(piece, -float(at)) for at, piece in enumerate(pieces)], extra_ids=0
        ),
    }


def test_prompts_of_a_file_are_those_that_the_stock_pipeline_draws(tmp_path):
    folder, file = tmp_path / "flux", tmp_path / "prompts.txt"
    file.write_text("\n".join(TEXTS), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_flux(folder)
        given = encoders(tmp_path)
        FluxPipeline.from_pretrained(folder, **given).save_pretrained(folder)
    model = load_model(str(folder))
    protocol = Protocol(
        name="t", images=3, micro_batch=3, steps=2, sampler="euler", guidance=3.5,
        prompts=str(file), image_size=16,
    )  # fmt: skip
    give_prompts(model, given_table(model.name, protocol, None))
    assert model.transformer.prompts.tokens == 512
    sampler = Sampler(model, protocol, seed=0, device="cpu")
    (batch,) = sampler.batches(0, 3)
    with torch.inference_mode():
        noise = sampler.begin(0)[0]
    pipeline = FluxPipeline.from_pretrained(folder)
    theirs = pipeline(
        TEXTS, height=16, width=16, latents=pipeline._pack_latents(noise, *noise.shape),
        guidance_scale=3.5, num_inference_steps=2, output_type="latent",
    ).images  # fmt: skip
    theirs = pipeline._unpack_latents(theirs, 16, 16, pipeline.vae_scale_factor)
    assert (torch.from_numpy(batch.latents) - theirs).norm() < 1e-4 * theirs.norm()
