"""Prompts are embedded as the stock pipelines of PixArt and Sana embed them."""

import pytest
import torch
from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline, SanaPipeline
from pipelines import save
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from mpqbench.dit.architectures import architecture_of

TEXTS = ["a red heart", "two cats in a house"]
PIPELINES = {
    "pixart": PixArtSigmaPipeline,
    "pixart-alpha": PixArtAlphaPipeline,
    "sana": SanaPipeline,
}


def tokenizer():
    """Letters as tokens."""
    letters = ["<pad>", "<unk>", *map(chr, range(32, 127))]
    made = Tokenizer(models.WordLevel({t: i for i, t in enumerate(letters)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")


def encoder(name):
    small = {"vocab_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    torch.manual_seed(0)
    if name == "sana":
        wide = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        return Gemma2Model(Gemma2Config(**small, **wide)).eval()
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=128, **sizes)).eval()


@pytest.mark.parametrize("name", PIPELINES)
def test_embeddings_are_those_that_the_stock_pipeline_gives_its_transformer(tmp_path, name):
    folder, _ = save(name, tmp_path / name)
    parts = {"text_encoder": encoder(name), "tokenizer": tokenizer()}
    pipeline = PIPELINES[name].from_pretrained(folder, **parts)
    transformer, seen = pipeline.transformer, {}
    hook = transformer.register_forward_pre_hook(
        lambda _module, _arguments, named: seen.update(named), with_kwargs=True
    )
    if transformer.config.get("use_additional_conditions"):
        transformer.register_to_config(sample_size=128)  # else the stock pipeline tells no size
    pipeline(
        TEXTS,
        negative_prompt="",
        num_inference_steps=2,
        guidance_scale=2.0,
        height=64,
        width=64,
        use_resolution_binning=False,
        clean_caption=False,
        output_type="latent",
    )
    hook.remove()
    with torch.no_grad():
        found = architecture_of(transformer).encode(pipeline, [*TEXTS, ""])
    theirs, mask = seen["encoder_hidden_states"], seen["encoder_attention_mask"]
    order = torch.tensor([2, 2, 0, 1])  # the null prompt twice, then the prompts
    torch.testing.assert_close(found.embeddings[order], theirs)
    assert torch.equal(found.mask[order], mask)
    shape = architecture_of(transformer).prompt_shape(transformer)
    assert found.embeddings.shape == (3, shape.tokens, shape.width)
