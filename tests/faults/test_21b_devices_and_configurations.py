"""Devices that cannot compute and odd configurations are refused in one sentence."""

import json
import random

import pytest
from diffusers import DiTTransformer2DModel

from mpqbench.core.errors import BenchError
from mpqbench.dit.configs import check_model
from mpqbench.dit.loading import meta_transformer
from mpqbench.metrics.features import usable_device

ODD = [
    None, True, False, 0, -1, 1.5, 3, 10**30, 1e300, "", "x", "1", [], [16, 16], {}, {"a": 1},
    ["x", 2],
]  # fmt: skip
FILES = (
    "model_index.json", "transformer/config.json", "vae/config.json",
    "scheduler/scheduler_config.json",
)  # fmt: skip


@pytest.mark.parametrize("device", ["meta", "mps", "xpu", "vulkan", "nothing", "", "cuda:-1", "ü"])
def test_a_device_that_cannot_compute_is_refused_in_one_line(device):
    with pytest.raises(BenchError, match=f"^device '{device}' cannot be used here: ") as caught:
        usable_device(device)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 240


def test_a_run_on_a_device_that_cannot_compute_makes_nothing(tmp_path, mpqbench):
    code, _, error = mpqbench("run", "smoke", "--device", "meta", "--out", tmp_path / "out")
    assert code == 2
    assert error.startswith("error: device 'meta' cannot be used here")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def never_asks_the_hub(monkeypatch):
    def asked(*_arguments, **_options):
        raise AssertionError("diffusers was given a configuration that is no mapping")

    monkeypatch.setattr(DiTTransformer2DModel, "load_config", asked)


def refusal(read, folder):
    """What ``read`` says against ``folder``: nothing, or one sentence."""
    try:
        read(str(folder))
    except BenchError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("file", FILES)
def test_every_key_with_every_odd_value_is_right_or_one_sentence(
    own_folder, file, never_asks_the_hub
):
    path = own_folder / file
    content = json.loads(path.read_text(encoding="utf-8"))
    for key in [key for key in content if key != "_diffusers_version"]:
        for value in ODD:
            path.write_text(json.dumps(content | {key: value}), encoding="utf-8")
            said = refusal(check_model, own_folder)
            if said:
                assert said.startswith(str(own_folder))
                assert key in said or "latent_channels" in said, (key, value, said)
                assert "\n" not in said
                assert len(said) < 600


@pytest.mark.parametrize(
    ("file", "key"),
    [(FILES[0], "transformer"), (FILES[1], "num_layers"), (FILES[2], "block_out_channels")],
)
def test_a_key_that_decides_the_count_may_not_be_missing(own_folder, file, key):
    content = json.loads((own_folder / file).read_text(encoding="utf-8"))
    del content[key]
    (own_folder / file).write_text(json.dumps(content), encoding="utf-8")
    assert f"{file}: {key}" in refusal(check_model, own_folder)


@pytest.mark.parametrize(
    "text",
    [
        '"facebook/DiT-XL-2-256"', "[]", "null", "3", "", "{", '{"a": NaN}', "[" * 100_000,
        '{"sample_size": 8, "sample_size": 16}', "\ufeff{}", '{"a": 1' + "0" * 5000 + "}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_holds_no_object_is_refused(own_folder, file, text, never_asks_the_hub):
    (own_folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(BenchError, match=file) as caught:
        check_model(str(own_folder))
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_refused(own_folder):
    (own_folder / FILES[1]).write_bytes(b"\xff\xfe{}")
    with pytest.raises(BenchError, match="is not valid JSON"):
        check_model(str(own_folder))


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_configurations_count_or_are_refused(own_folder, count, never_asks_the_hub):
    rng = random.Random(0)
    path = own_folder / "transformer" / "config.json"
    original = path.read_text(encoding="utf-8")
    content = json.loads(original)
    for _ in range(count):
        if rng.random() < 0.5:
            changed = content | {rng.choice(list(content)): rng.choice(ODD) for _ in range(2)}
            path.write_text(json.dumps(changed), encoding="utf-8")
        else:
            at = rng.randrange(len(original))
            path.write_text(
                original[:at] + chr(rng.randrange(1, 256)) + original[at + 1 :], encoding="utf-8"
            )
        assert "\n" not in refusal(meta_transformer, own_folder)


def test_a_size_of_two_numbers_is_refused_by_cost(own_folder, mpqbench):
    path = own_folder / "transformer" / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"sample_size": [16, 16]}),
        encoding="utf-8",
    )
    code, _, error = mpqbench("cost", "--model", own_folder, "--precision", "W4A4")
    assert code == 2
    assert error == f"error: {path}: sample_size must be a whole number, not [16, 16]\n"
