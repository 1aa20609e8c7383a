"""Sana: pointwise convolutions as linear layers, linear attention, its folders."""

import pytest
import torch
from diffusers import SanaTransformer2DModel
from pipelines import DEEP_VAE, save, table_of
from tiny_pipeline import edit_json

from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL
from mpqbench.cost.count import CountOptions, count
from mpqbench.dit.architectures.pointwise import Pointwise
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.dit.loading import load_model, meta_transformer

SUITE = """
name: refused
models: [{folder}]
methods: [{{base: rtn, name: own, attention_bits: 8}}]
budgets: [W4A4]
protocol: {{base: smoke, features: none, prompt_embeddings: {folder}/embeddings.safetensors}}
"""


@pytest.fixture
def folder(tmp_path):
    return save("sana", tmp_path / "sana")[0]


@pytest.mark.parametrize("bias", [True, False])
def test_a_pointwise_layer_gives_what_its_convolution_gives(bias):
    convolution, x = torch.nn.Conv2d(6, 10, 1, bias=bias), torch.randn(2, 6, 3, 5)
    layer = Pointwise(convolution)
    torch.testing.assert_close(layer(x), convolution(x))
    assert torch.equal(layer.linear.weight.flatten(), convolution.weight.flatten())


def test_a_loaded_transformer_gives_what_diffusers_gives(folder):
    model = load_model(str(folder))
    model.transformer.prompts = table = table_of(model.transformer)
    stock = SanaTransformer2DModel.from_pretrained(folder / "transformer").eval()
    x, times, at = torch.randn(3, 4, 8, 8), torch.tensor([999.0, 500, 3]), torch.tensor([0, 2, 5])
    with torch.no_grad():
        theirs = stock(x, table.embeddings[at], times, encoder_attention_mask=table.mask[at]).sample
        torch.testing.assert_close(model.forward(x, times, at), theirs)


def test_images_are_decoded_without_a_shift(folder):
    model, latents = load_model(str(folder)), torch.randn(1, 4, 8, 8)
    assert model.image_shape == (32, 32, 3)
    with torch.no_grad():
        expected = model.vae.decode(latents / DEEP_VAE["scaling_factor"]).sample
        assert torch.equal(model.decode(latents), expected)
    assert tuple(expected.shape[1:]) == (3, 32, 32)


def test_linear_attention_is_counted_with_its_own_operands(folder):
    """Values with a row of ones times keys, (d + 1, n) (n, d), and that times queries (d, n)."""
    transformer = meta_transformer(str(folder))
    groups = layer_groups(transformer)
    options = CountOptions(WeightFormat(symmetric=True), ActivationFormat())
    report = count(transformer, groups, uniform_allocation(groups, FULL, FULL), options)
    macs = {op.name: op.macs for op in report.operators}
    for name in ("kv", "q"):
        assert macs[f"transformer_blocks.1.attn1.{name}"] == 4 * 9 * 8 * 64
    assert macs["transformer_blocks.1.ff.conv_depth"] == 9 * 128 * 64


def test_quantized_attention_products_are_refused_before_a_job(folder, mpqbench, tmp_path):
    sentence = (
        "attention_bits must be left out: transformer_blocks.0.attn1 is linear attention, whose "
        "products cannot be quantized"
    )
    given = ("--model", folder, "--budget", "W4A4")
    code, _, error = mpqbench("cost", *given, "--attention-bits", "8")
    assert (code, error) == (2, f"error: {sentence}\n")
    suite, out = tmp_path / "suite.yaml", tmp_path / "out"
    suite.write_text(SUITE.format(folder=folder), encoding="utf-8")
    code, _, error = mpqbench("run", suite, "--out", out)
    assert (code, error) == (2, f"error: model '{folder}', method 'own': {sentence}\n")
    assert not list(out.rglob("*.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guidance_embeds": True}, "guidance_embeds must be False"),
        ({"timestep_scale": 1000.0}, "timestep_scale"),
        ({"cross_attention_dim": 48}, "cross_attention_dim 48 must be"),
        ({"out_channels": 8}, "out_channels 8 must be in_channels"),
        ({"use_pe": True}, "use_pe"),
    ],
)
def test_what_no_sana_has_is_refused_by_key(folder, changes, message):
    edit_json(folder / "transformer" / "config.json", **changes)
    with pytest.raises(BenchError, match=message):
        meta_transformer(str(folder))
