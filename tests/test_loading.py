"""Loading by name, and what is said when it cannot be done."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_pipeline import save_tiny_pipeline

from mpqbench.core.errors import BenchError
from mpqbench.dit.loading import load_model, meta_transformer, pipeline_folder


@pytest.fixture
def own_copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def weights(folder, part="transformer"):
    return folder / part / "diffusion_pytorch_model.safetensors"


def test_a_local_folder_loads_in_float32_and_evaluates(tiny_folder):
    model = load_model(str(tiny_folder))
    assert (model.classes, model.latent_shape) == (3, (4, 8, 8))
    assert not model.transformer.training
    assert {p.dtype for p in model.transformer.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in model.vae.parameters())


def test_half_precision_weights_are_read_as_float32(own_copy):
    path = weights(own_copy)
    save_file({k: v.half() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    assert {p.dtype for p in load_model(str(own_copy)).transformer.parameters()} == {torch.float32}


def test_the_digest_follows_the_weights(tiny_folder, tmp_path):
    other = save_tiny_pipeline(tmp_path / "other", seed=1)
    assert load_model(str(tiny_folder)).digest == load_model(str(tiny_folder)).digest
    assert load_model(str(tiny_folder)).digest != load_model(str(other)).digest


def test_truncated_weights(own_copy):
    path = weights(own_copy)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BenchError, match=r"safetensors is truncated or damaged .* fetch it again"):
        load_model(str(own_copy))


def test_a_missing_weight_is_not_left_random(own_copy):
    path = weights(own_copy)
    state = load_file(path)
    del state["proj_out_2.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(BenchError, match=r"lacks 1 weights of DiTTransformer2DModel: proj_out_2"):
        load_model(str(own_copy))


def test_a_missing_part(own_copy):
    shutil.rmtree(own_copy / "vae")
    with pytest.raises(BenchError, match="no DiTPipeline folder: vae is missing"):
        load_model(str(own_copy))


def test_a_broken_configuration(own_copy):
    (own_copy / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(BenchError, match=r"scheduler_config.json is not valid JSON"):
        load_model(str(own_copy))


def test_weights_of_another_architecture(own_copy):
    path = own_copy / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_layers": 3}))
    with pytest.raises(BenchError, match="lacks"):
        load_model(str(own_copy))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fashion-dti", "unknown model 'fashion-dti'; did you mean 'fashion-dit'"),
        ("/nowhere/at/all", "model folder /nowhere/at/all does not exist"),
        ("random:dit-xl-2-25", "did you mean 'dit-xl-2-256'"),
    ],
)
def test_unknown_names(name, sentence):
    with pytest.raises(BenchError, match=sentence):
        load_model(name)


def test_a_hub_that_cannot_be_reached(monkeypatch):
    import huggingface_hub

    def refuse(*_args, **_kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(BenchError, match=r"'some/model' here, .*ConnectionError"):
        load_model("some/model")


def test_a_hub_name_resolves_to_what_the_hub_client_fetched(monkeypatch, tiny_folder):
    import huggingface_hub

    asked = []

    def fetch(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tiny_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert pipeline_folder("dit-xl-2-256") == tiny_folder
    assert asked[0][0] == "facebook/DiT-XL-2-256"
    assert "transformer/*" in asked[0][1]


def test_meta_device_needs_no_weights(own_copy):
    weights(own_copy).unlink()
    tiny = meta_transformer(str(own_copy))
    large = meta_transformer("dit-xl-2-512")
    assert next(tiny.parameters()).is_meta
    assert (len(large.transformer_blocks), large.config.sample_size) == (28, 64)
