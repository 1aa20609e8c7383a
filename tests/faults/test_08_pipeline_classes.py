"""A folder of another class is refused in one sentence wherever a model is read."""

import pytest
from tiny_pipeline import edit_json

from mpqbench.core.errors import BenchError
from mpqbench.dit.loading import load_model, meta_transformer

OTHERS = {
    "Hunyuan": ("HunyuanDiTPipeline", "HunyuanDiT2DModel"),
    "Lumina": ("LuminaPipeline", "LuminaNextDiT2DModel"),
    "Sana Sprint": ("SanaSprintPipeline", "SanaTransformer2DModel"),
}


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("verb", ["cost", "run"])
def test_pipelines_of_other_families_are_refused_by_cost_and_run(
    own_folder, mpqbench, family, verb
):
    pipeline, transformer = OTHERS[family]
    edit_json(
        own_folder / "model_index.json",
        _class_name=pipeline,
        transformer=["diffusers", transformer],
    )
    edit_json(own_folder / "transformer" / "config.json", _class_name=transformer)
    options = {"cost": ["--precision", "W4A4"], "run": ["smoke", "-n"]}[verb]
    code, _, error = mpqbench(verb, "--model", own_folder, *options)
    assert code == 2
    assert f"model_index.json: _class_name is '{pipeline}'" in error
    assert "supported: DiTPipeline" in error


@pytest.mark.parametrize(
    ("file", "found", "supported"),
    [
        ("transformer/config.json", "PixArtTransformer2DModel", "DiTTransformer2DModel"),
        ("vae/config.json", "VQModel", "AutoencoderKL"),
        ("scheduler/scheduler_config.json", "FlowMatchEulerDiscreteScheduler", "DDPMScheduler"),
        ("scheduler/scheduler_config.json", None, "DDIMScheduler"),
        ("model_index.json", ["DiTPipeline"], "DiTPipeline"),
    ],
)
def test_a_part_of_another_class_is_refused(own_folder, file, found, supported):
    edit_json(own_folder / file, _class_name=found)
    for read in (load_model, meta_transformer):
        with pytest.raises(BenchError, match=rf"{file}: _class_name .*{supported}"):
            read(str(own_folder))


def test_the_index_names_the_class_of_every_part(own_folder):
    edit_json(own_folder / "model_index.json", vae=["diffusers", "VQModel"])
    with pytest.raises(BenchError, match=r"model_index.json: vae is 'VQModel'"):
        load_model(str(own_folder))


def test_the_class_under_which_dit_was_published_is_supported(own_folder):
    """facebook/DiT-XL-2-256 names Transformer2DModel, and has keys that are switched off."""
    off = {"cross_attention_dim": None, "only_cross_attention": False, "attention_type": "default"}
    edit_json(own_folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    edit_json(own_folder / "transformer" / "config.json", _class_name="Transformer2DModel", **off)
    assert load_model(str(own_folder)).classes == 3
    edit_json(own_folder / "transformer" / "config.json", norm_type="ada_norm_single")  # PixArt
    with pytest.raises(BenchError, match=r"norm_type must be 'ada_norm_zero'"):
        load_model(str(own_folder))
