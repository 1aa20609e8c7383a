"""What PixArt's folders may say, and what its transformer is told."""

import pytest
import torch
from pipelines import save
from tiny_pipeline import edit_json

from mpqbench.core.errors import BenchError
from mpqbench.dit.loading import load_model, meta_transformer
from mpqbench.dit.prompt_files import read_prompt_embeddings


@pytest.fixture
def folder(tmp_path):
    return save("pixart", tmp_path / "pixart")[0]


def test_the_class_under_which_pixart_was_published_is_supported(folder):
    edit_json(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    off = {"double_self_attention": False, "num_vector_embeds": None}
    edit_json(folder / "transformer" / "config.json", _class_name="Transformer2DModel", **off)
    model = load_model(str(folder))
    assert type(model.transformer).__name__ == "PixArtTransformer2DModel"
    edit_json(folder / "transformer" / "config.json", norm_type="ada_norm_zero")  # DiT
    with pytest.raises(BenchError, match=r"norm_type must be 'ada_norm_single'"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("vae", {"shift_factor": 0.1}, "shift_factor must be null: a PixArtSigmaPipeline shifts"),
        ("transformer", {"use_additional_conditions": True}, "makes 2 pixels .* takes 8"),
        ("transformer", {"out_channels": 6}, "out_channels 6 must be in_channels"),
        ("transformer", {"cross_attention_dim": 24}, "cross_attention_dim 24 must be"),
        ("transformer", {"attention_type": "gated"}, "attention_type"),
    ],
)
def test_what_no_pixart_has_is_refused_by_key(folder, part, changes, message):
    edit_json(folder / part / "config.json", **changes)
    with pytest.raises(BenchError, match=message):
        meta_transformer(str(folder))


def test_noise_levels_that_a_solver_rescales_are_refused(folder):
    edit_json(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    with pytest.raises(BenchError, match="rescale_betas_zero_snr"):
        meta_transformer(str(folder))


@pytest.mark.parametrize("name", ["pixart", "pixart-alpha"])
def test_padding_of_a_prompt_changes_no_output(tmp_path, name):
    folder, embeddings = save(name, tmp_path / name)
    model = load_model(str(folder))
    table = read_prompt_embeddings(embeddings, model.transformer)
    latents, at = torch.randn(2, *model.latent_shape), torch.tensor([1, 2])
    outputs = []
    for value in (0.0, 5.0):
        table.embeddings[table.mask == 0] = value
        model.transformer.prompts = table
        with torch.no_grad():
            outputs.append(model.forward(latents, torch.tensor([900, 20]), at))
    assert torch.equal(*outputs)
