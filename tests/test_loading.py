"""Loading a model by name, and the error where a model cannot be loaded."""

import json
import shutil

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_pipeline import save_tiny_pipeline

from mpqbench.core.errors import BenchError
from mpqbench.dit.configs import pipeline_folder
from mpqbench.dit.loading import load_model, meta_transformer


def weights(folder, part="transformer"):
    return folder / part / "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_a_local_folder_loads_in_float32_for_evaluation(own_folder, stored):
    path = weights(own_folder)
    save_file({k: v.to(stored) for k, v in load_file(path).items()}, path, {"format": "pt"})
    model = load_model(str(own_folder))
    assert (model.classes, model.latent_shape) == (3, (4, 8, 8))
    assert not model.transformer.training
    assert {p.dtype for p in model.transformer.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in model.vae.parameters())


def test_the_digest_depends_on_the_weights(tiny_folder, own_folder, tmp_path):
    folders = tiny_folder, own_folder, save_tiny_pipeline(tmp_path / "other", seed=1)
    one, same, other = (load_model(str(folder)).digest for folder in folders)
    assert one == same != other


def _without_a_weight(folder):
    state = load_file(weights(folder))
    del state["proj_out_2.weight"]
    save_file(state, weights(folder), metadata={"format": "pt"})


def _with_one_more_block(folder):
    path = folder / "transformer" / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"num_layers": 3}),
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda folder: weights(folder).write_bytes(weights(folder).read_bytes()[:-100]),
            "safetensors is truncated or damaged .* fetch it again",
        ),
        (_without_a_weight, r"lacks weights of DiTTransformer2DModel \(1\): proj_out_2"),
        (_with_one_more_block, "lacks"),
        (lambda folder: shutil.rmtree(folder / "vae"), "not a pipeline folder: vae is missing"),
        (
            lambda folder: (folder / "scheduler" / "scheduler_config.json").write_text(
                "{", encoding="utf-8"
            ),
            "scheduler_config.json is not valid JSON",
        ),
    ],
)
def test_damaged_folders(own_folder, damage, sentence):
    damage(own_folder)
    with pytest.raises(BenchError, match=sentence):
        load_model(str(own_folder))


def test_a_hub_id_is_downloaded_or_refused_in_one_sentence(monkeypatch, tiny_folder):
    def fetch(name, allow_patterns):
        assert "transformer/*.json" in allow_patterns
        if name != "facebook/DiT-XL-2-256":
            raise ConnectionError("no network")
        return str(tiny_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert pipeline_folder("dit-xl-2-256") == tiny_folder
    with pytest.raises(BenchError, match=r"'some/model' here, .*ConnectionError"):
        load_model("some/model")


def test_meta_device_needs_no_weights(own_folder):
    weights(own_folder).unlink()
    tiny = meta_transformer(str(own_folder))
    large = meta_transformer("dit-xl-2-512")
    assert next(tiny.parameters()).is_meta
    assert (len(large.transformer_blocks), large.config.sample_size) == (28, 64)
