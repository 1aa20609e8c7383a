"""A model that cannot be used is refused before a job, with the file, key or tensor at fault."""

import json
import random
import shutil
from contextlib import suppress

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from tiny_pipeline import edit_json

from mpqbench.core.errors import BenchError
from mpqbench.dit.configs import read_pipeline
from mpqbench.dit.loading import load_model
from mpqbench.dit.weights import load_part

STEM = "diffusion_pytorch_model"
WEIGHT = "transformer_blocks.0.ff.net.0.proj.weight"


@pytest.fixture
def state(own_folder):
    return load_file(own_folder / "transformer" / f"{STEM}.safetensors")


def change(folder, part, **changes):
    edit_json(folder / part / "config.json", **changes)


def refused(folder, sentence):
    with pytest.raises(BenchError, match=sentence) as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "key", "value", "sentence"),
    [
        ("transformer", "patch_size", 3, "patch_size 3 does not divide sample_size 8"),
        ("transformer", "out_channels", 5, r"out_channels 5 must be in_channels \(4\)"),
        ("transformer", "attention_head_dim", 7, "is 14: position embeddings need a multiple of 4"),
        ("transformer", "activation_fn", "geglu", "activation_fn must be 'gelu-approximate'"),
        ("transformer", "norm_eps", 1e-3, "norm_eps must be"),
        ("transformer", "new_option", True, "unknown key 'new_option'"),
        ("vae", "latent_channels", 3, "latent_channels is 3, and the transformer .* 4 channels"),
        ("vae", "scaling_factor", None, "scaling_factor must be a number, not null"),
        ("vae", "scaling_factor", 0, "scaling_factor must be greater than 0"),
        ("vae", "shift_factor", 0.5, "shift_factor must be null"),
        ("vae", "block_out_channels", [4], "down_block_types has 2 entries, block_out_channels 1"),
        ("vae", "norm_num_groups", 3, "norm_num_groups 3 does not divide 4"),
        ("vae", "out_channels", 2, "out_channels must be 1 or 3"),
    ],
)
def test_a_configuration_that_cannot_be_run_names_its_file_and_key(
    own_folder, part, key, value, sentence
):
    change(own_folder, part, **{key: value})
    refused(own_folder, f"{part}/config.json: .*{sentence}")


def test_keys_that_are_switched_off_and_private_keys_change_nothing(own_folder, tiny_folder):
    change(own_folder, "transformer", new_option=None, other=False, _name_or_path="somewhere")
    ours, theirs = (load_model(str(each)).transformer for each in (own_folder, tiny_folder))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(own_folder, state, value):
    state[WEIGHT][0, 0] = value
    save_file(state, own_folder / "transformer" / f"{STEM}.safetensors")
    refused(own_folder, f"{WEIGHT} holds NaN or infinite weights")


def test_missing_unknown_misshapen_and_integer_weights_are_named(own_folder, state):
    path = own_folder / "transformer" / f"{STEM}.safetensors"
    lacking = {name: tensor for name, tensor in state.items() if name != "proj_out_2.bias"}
    for changed, sentence in (
        (lacking, r"lacks weights of DiTTransformer2DModel \(1\): proj_out_2"),
        (
            state | {"lora.up": torch.zeros(2)},
            r"holds weights that \w+ does not have \(1\): lora.up",
        ),
        (
            state | {"proj_out_2.bias": torch.zeros(3)},
            r"proj_out_2.bias has shape \[3\], .* \[32\]",
        ),
        (state | {WEIGHT: state[WEIGHT].to(torch.int8)}, f"{WEIGHT} is of type I8"),
    ):
        save_file(changed, path)
        refused(own_folder, sentence)


def test_a_pointer_in_place_of_weights_names_its_remedy(own_folder):
    path = own_folder / "transformer" / f"{STEM}.safetensors"
    path.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", encoding="utf-8"
    )
    refused(own_folder, f"{path} is a pointer of Git LFS.*git lfs pull")


def test_weights_of_one_variant_are_read_and_several_are_refused(own_folder, tiny_folder):
    part, wanted = own_folder / "transformer", load_model(str(tiny_folder)).transformer.state_dict()
    path = (part / f"{STEM}.safetensors").rename(part / f"{STEM}.fp16.safetensors")
    found = load_model(str(own_folder)).transformer.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    shutil.copy(path, part / f"{STEM}.ema.safetensors")
    refused(own_folder, "several sets of weights, .*ema.* and .*fp16.*: keep one")


def test_pickled_weights_are_not_read(own_folder):
    part = own_folder / "vae"
    (part / f"{STEM}.safetensors").rename(part / f"{STEM}.bin")
    refused(
        own_folder, r"vae holds no .*\.bin files are not read: save with safe_serialization=True"
    )


def shard(folder, state):
    """Save the transformer as two shards with their index."""
    part, names = folder / "transformer", sorted(state)
    files = [f"{STEM}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    placed = {name: files[i % 2] for i, name in enumerate(names)}
    for file in files:
        save_file({name: state[name] for name in names if placed[name] == file}, part / file)
    (part / f"{STEM}.safetensors").unlink()
    index = part / f"{STEM}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}), encoding="utf-8")
    return index, [part / file for file in files]


def test_shards_are_read_and_a_missing_one_is_named(own_folder, state):
    index, (_, second) = shard(own_folder, state)
    found = load_model(str(own_folder)).transformer.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    second.unlink()
    refused(own_folder, f"{second} is missing, and {index.name} names the file")
    index.write_text(
        json.dumps({"weight_map": {"a": "../../elsewhere.safetensors"}}), encoding="utf-8"
    )
    refused(own_folder, "is missing")
    index.write_text(json.dumps({"weight_map": [1]}), encoding="utf-8")
    refused(own_folder, f"{index}: weight_map must give the file")


def test_attention_of_old_autoencoders_is_read_under_its_name_of_today(own_folder):
    """facebook/DiT-XL-2-256 was saved when diffusers named the parts query, key and value."""
    change(own_folder, "vae", mid_block_add_attention=True)
    config = json.loads((own_folder / "vae" / "config.json").read_text(encoding="utf-8"))
    wanted = AutoencoderKL.from_config(config).state_dict()
    today = ("to_q", "to_k", "to_v", "to_out.0")
    old = dict(zip(today, ("query", "key", "value", "proj_attn"), strict=True))
    saved = {}
    for name, tensor in wanted.items():
        for new in today:
            name = name.replace(f".{new}.", f".{old[new]}.")
        saved[name] = tensor
    assert saved.keys() != wanted.keys()
    save_file(saved, own_folder / "vae" / f"{STEM}.safetensors")
    found = load_model(str(own_folder)).vae.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("size", [0, 7, 100])
def test_truncated_weights_are_refused(own_folder, size):
    path = own_folder / "vae" / f"{STEM}.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(own_folder, "is truncated or damaged .*: fetch it again")


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_mutated_headers_of_weights_load_or_are_refused(own_folder, count):
    rng, path = random.Random(0), own_folder / "vae" / f"{STEM}.safetensors"
    original = path.read_bytes()
    length = int.from_bytes(original[:8], "little")
    config = read_pipeline(own_folder).vae
    for _ in range(count):
        changed = bytearray(original)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(8 + length)] = rng.randrange(256)
        path.write_bytes(changed)
        with suppress(BenchError):
            load_part(own_folder / "vae", AutoencoderKL, config)
