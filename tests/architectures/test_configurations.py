"""Configurations without weights: what they cost, and random weights in their shape."""

import json
import math

import pytest
import torch
from click.testing import CliRunner
from pipelines import DEEP_VAE, FLUX, MMDIT, PIXART, SANA
from tiny_pipeline import TINY_TRANSFORMER

from mpqbench import api
from mpqbench.cli.cost import cost
from mpqbench.core.errors import BenchError
from mpqbench.core.progress import Reporter
from mpqbench.dit.architectures import architecture_of
from mpqbench.dit.loading import load_model, meta_transformer
from mpqbench.dit.random_prompts import RANDOM_PROMPTS
from mpqbench.dit.scheduler_configs import FlowConfig, SchedulerConfig
from mpqbench.dit.zoo import AUTOENCODERS, CONFIGURATIONS, SD_VAE

# Numbers in the published weight files, and those of them that are position embeddings, no weights.
PUBLISHED = {
    "dit-xl-2-256": (674_834_720, 0),
    "flux.1-dev": (11_901_408_320, 0),
    "sd3.5-medium": (2_469_663_936, 384 * 384 * 1536),
    "sd3.5-large": (8_146_280_768, 192 * 192 * 2432),
    "pixart-sigma-xl-2-1024": (610_856_096, 0),
    "sana-1.6b": (1_604_462_752, 0),
}


def counted(*words):
    result = CliRunner().invoke(cost, [*words, "--json"], catch_exceptions=False)
    return json.loads(result.output)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name):
    total, positions = PUBLISHED[name]
    assert counted("--model", name, "--budget", "W4A4")["parameters"] == total - positions


def test_flux_costs_what_its_shapes_say_at_1024_pixels_and_512_tokens():
    width, image, prompt = 3072, 4096, 512
    both = image + prompt
    double = 12 * width**2 * both + 2 * 6 * width**2  # linear layers, then adaLN
    single = 12 * width**2 * both + 3 * width**2  # q, k, v; up; and down from width and up
    attention = 2 * both**2 * width
    pairs = [(2 * 64, width, image), (4096, width, prompt)]  # patches in and out, and T5
    pairs += [(256, width, 2), (width, width, 3), (768, width, 1), (width, 2 * width, 1)]
    ends = sum(math.prod(pair) for pair in pairs)
    found = counted("--model", "flux.1-dev", "--budget", "W4A4")
    assert found["macs"] == 19 * double + 38 * single + 57 * attention + ends
    assert found["bitops_linear"] == 57 * 12 * width**2 * both * 16
    assert found["guidance_passes"] == 1


def test_sd35_large_costs_what_its_shapes_say_at_1024_pixels_and_333_tokens():
    width, image, prompt, blocks = 2432, 4096, 333, 38
    both = image + prompt
    found = counted("--model", "sd3.5-large", "--budget", "W4A4")
    last = 9 * width**2 * prompt  # of the prompt in the last block: its output layer and its MLP
    assert found["bitops_linear"] == 16 * (blocks * 12 * width**2 * both - last)
    products = sum(row["macs"] for row in found["operators"] if row["kind"].startswith("attn.q"))
    linears = [row for row in found["operators"] if row["kind"] == "attn.qk"]
    assert sum(row["macs"] for row in linears) == blocks * both**2 * width
    assert products > sum(row["macs"] for row in linears)
    assert found["guidance_passes"] == 2


def test_pixart_sigma_costs_what_its_shapes_say_at_1024_pixels_and_300_tokens():
    width, image, prompt = 1152, 4096, 300
    linear = 14 * width**2 * image + 2 * width**2 * prompt
    products = 2 * image * (image + prompt) * width
    ends = image * width * (4 * 4 + 8 * 4) + (4096 + width) * width * prompt
    time = (256 + width) * width + 6 * width**2  # adaLN-single with it
    found = counted("--model", "pixart-sigma-xl-2-1024", "--budget", "W4A4")
    assert found["macs"] == 28 * (linear + products) + ends + time


def test_sana_costs_what_its_shapes_say_at_1024_pixels_and_300_tokens():
    width, image, prompt, head = 2240, 1024, 300, 32
    mlp = 5600 * 3 * width * image + 9 * 2 * 5600 * image  # pointwise, then depthwise
    linear = 6 * width**2 * image + 2 * width**2 * prompt
    products = 2 * image * width * (head + 1) + 2 * image * prompt * width
    ends = image * width * 2 * 32 + (2304 + width) * width * prompt
    time = (256 + width) * width + 6 * width**2
    found = counted("--model", "sana-1.6b", "--budget", "W4A4")
    assert found["macs"] == 20 * (mlp + linear + products) + ends + time


def test_a_method_is_priced_at_any_size():
    words = ("--model", "flux.1-dev", "--method", "treeq", "--budget", "W4A4")
    large, small = counted(*words), counted(*words, "--image-size", "512")
    assert large["overhead"]["branch"] > small["overhead"]["branch"] > 0
    ratio = (1024 + 512) / (4096 + 512)
    assert small["bitops_linear"] / large["bitops_linear"] == pytest.approx(ratio)
    with pytest.raises(BenchError, match=r"image_size 500 .* multiples of 16 from 16 to 4096"):
        counted(*words, "--image-size", "500")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_configuration_goes_with_its_autoencoder(name):
    config, transformer = CONFIGURATIONS[name], meta_transformer(name)
    vae = AUTOENCODERS.get(config.get("_class_name", ""), SD_VAE)
    assert vae["latent_channels"] == architecture_of(transformer).latent_shape(transformer)[0]


TINY = {
    "DiTTransformer2DModel": TINY_TRANSFORMER,
    "SD3Transformer2DModel": MMDIT | {"_class_name": "SD3Transformer2DModel"},
    "FluxTransformer2DModel": FLUX | {"_class_name": "FluxTransformer2DModel"},
    "PixArtTransformer2DModel": PIXART | {"_class_name": "PixArtTransformer2DModel"},
    "SanaTransformer2DModel": SANA | {"_class_name": "SanaTransformer2DModel"},
}


@pytest.fixture(params=TINY)
def tiny(request, monkeypatch):
    """The name of a small random model of every architecture."""
    config, small = TINY[request.param], {"block_out_channels": (32,) * 4, "layers_per_block": 1}
    vae = AUTOENCODERS.get(request.param, SD_VAE)
    vae = vae | (DEEP_VAE if request.param.startswith("Sana") else small)
    channels = config["in_channels"] // (4 if request.param.startswith("Flux") else 1)
    monkeypatch.setitem(AUTOENCODERS, request.param, vae | {"latent_channels": channels})
    monkeypatch.setitem(CONFIGURATIONS, "tiny", config | {"_class_name": request.param})
    return request.param


def test_random_models_have_prompts_and_a_scheduler_of_their_kind(tiny):
    first, again = load_model("random:tiny"), load_model("random:tiny")
    shape = first.architecture.prompt_shape(first.transformer)
    wanted = FlowConfig if first.architecture.is_flow else SchedulerConfig
    assert isinstance(first.scheduler, wanted)
    assert first.vae.config.latent_channels == first.latent_shape[0]
    weights = dict(again.transformer.named_parameters())
    assert all(torch.equal(w, weights[path]) for path, w in first.transformer.named_parameters())
    if shape is None:
        assert first.classes == TINY[tiny]["num_embeds_ada_norm"]
        return
    table = first.transformer.prompts
    assert len(table) == first.classes == RANDOM_PROMPTS
    assert table.embeddings.shape == (RANDOM_PROMPTS + 1, shape.tokens, shape.width)
    assert (table.pooled is None) == (shape.pooled is None)
    assert (table.mask is None) == (not shape.masked)
    assert torch.equal(table.embeddings, again.transformer.prompts.embeddings)


def test_random_models_run(tiny, tmp_path):
    size = {"image_size": 64} if tiny.startswith("Flux") else {}
    records = api.run(
        "smoke", models=["random:tiny"], budgets=["W4A4"], out=tmp_path / "out", images=4, steps=2,
        micro_batch=4, calibration=4, features="none", reporter=Reporter(), **size,
    )  # fmt: skip
    records = list(records)
    assert [record.status for record in records] == ["done", "done"], records[-1].reason
    assert {record.protocol["image_size"] for record in records} == {size.get("image_size")}


def test_a_transformer_without_guidance_refuses_it_before_a_job_runs(monkeypatch, mpqbench):
    config = TINY["FluxTransformer2DModel"] | {"guidance_embeds": False}
    vae = {"block_out_channels": (32,) * 4, "layers_per_block": 1, "latent_channels": 4}
    monkeypatch.setitem(AUTOENCODERS, "FluxTransformer2DModel", SD_VAE | vae)
    monkeypatch.setitem(CONFIGURATIONS, "tiny", config)
    words = ["run", "smoke", "-n", "--model", "random:tiny", "--features", "none"]
    assert mpqbench(*words)[0] == 0  # with the guidance that is usual for it: none
    code, _, error = mpqbench(*words, "--guidance", "1.5")
    assert code == 2
    assert error.startswith("error: guidance 1.5 is not for this transformer, which takes none")
    assert mpqbench(*words, "--guidance", "1", "--image-size", 64)[0] == 0
