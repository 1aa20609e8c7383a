"""What FLUX alone has: embedded guidance, no null condition, times in thousandths."""

import json

import pytest
import torch
from pipelines import SHIFTING, save, save_flux
from test_stock_pipelines import ours, stock_flux

from mpqbench.core.errors import BenchError
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.dit.architectures import architecture_of
from mpqbench.dit.calibration import record_calibration, record_spans
from mpqbench.dit.configs import read_pipeline
from mpqbench.dit.loading import load_model
from mpqbench.dit.prompt_files import read_prompt_embeddings
from mpqbench.dit.sampling import Sampler
from mpqbench.quant.activation import Clock, time_group
from mpqbench.quant.apply import QuantizedModel
from mpqbench.quant.attention import QuantizedAttention
from mpqbench.tuning.trajectories import _recorded

SHORT = PROTOCOLS["smoke"].model_copy(
    update={"steps": 3, "micro_batch": 4, "calibration": 8, "image_size": 16}
)


def loaded(folder, embeddings):
    model = load_model(str(folder))
    model.transformer.prompts = read_prompt_embeddings(embeddings, model.transformer)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return loaded(*save("flux", tmp_path_factory.mktemp("pipelines") / "flux"))


def inputs(sampler):
    """Four noises of the sampler, at one step."""
    latents, classes, _ = sampler.begin(0)
    return latents, torch.full((len(latents),), 750.0), classes


@pytest.mark.parametrize(
    ("embedded", "shifting"), [(True, None), (True, SHIFTING), (False, None), (False, SHIFTING)]
)
def test_guidance_is_embedded_or_not_and_levels_are_shifted_by_either_rule(
    tmp_path, embedded, shifting
):
    folder = tmp_path / "flux"  # SIZES has the size by this name
    save_flux(folder, shifting, guidance_embeds=embedded)
    guidance = 3.5 if embedded else 1.0
    latents, noise, table = ours(folder, folder / "embeddings.safetensors", guidance)
    theirs = stock_flux(folder, noise.clone(), table, guidance)
    assert (latents - theirs).norm() < 1e-4 * theirs.norm()


def test_one_pass_a_step_is_told_the_guidance(model):
    outputs = []
    for guidance in (1.0, 5.0):
        sampler = Sampler(model, SHORT.model_copy(update={"guidance": guidance}), 0, "cpu")
        assert sampler.guidance_passes == 1
        with torch.inference_mode():
            outputs.append(model.forward(*inputs(sampler)))
    assert (outputs[0] - outputs[1]).norm() > 1e-3 * outputs[0].norm()


def test_no_recorded_input_has_the_null_condition(model):
    sampler = Sampler(model, SHORT, 0, "cpu")
    for found in (record_calibration(sampler), record_spans(sampler, 2)):
        assert (found.classes < model.classes).all()
    assert (_recorded(sampler, 0)["classes"] < model.classes).all()


def test_half_of_the_inputs_of_another_architecture_have_it(tmp_path):
    other = loaded(*save("mmdit", tmp_path / "mmdit"))
    found = record_calibration(Sampler(other, SHORT, 0, "cpu"))
    assert (found.classes == other.classes).sum() == len(found) // 2


@pytest.mark.parametrize("count", [4, 10])
@pytest.mark.parametrize("time", [1000.0, 900.0, 749.99994, 700.0, 499.99997, 333.5, 100.0, 0.25])
def test_a_clock_is_told_the_times_of_the_harness(model, time, count):
    sampler, clock = Sampler(model, SHORT, 0, "cpu"), Clock(count)
    latents, _, classes = inputs(sampler)
    times = torch.full((len(latents),), time)
    with QuantizedModel(model.transformer, [], clock=clock), torch.inference_mode():
        model.forward(latents, times, classes)
    assert clock.groups.tolist() == time_group(times, count).tolist()  # as calibration has it
    assert clock.groups.tolist() == [min(count - 1, int(round(time, 2) * count // 1000))] * 4


def test_quantized_attention_is_that_of_every_block(model):
    transformer, sampler = model.transformer, Sampler(model, SHORT, 0, "cpu")
    called = []

    class Counted(QuantizedAttention):
        def __call__(self, *args, **options):
            called.append(args or options)
            return super().__call__(*args, **options)

    with torch.inference_mode():
        exact = model.forward(*inputs(sampler))
        with QuantizedModel(transformer, [], Counted(3)):
            rough = model.forward(*inputs(sampler))
    assert len(called) == len(architecture_of(transformer).blocks(transformer))
    assert (rough - exact).norm() > 1e-3 * exact.norm()


@pytest.mark.parametrize("pixels", [None, 16, 12])
def test_images_have_the_size_that_was_asked_for(model, pixels):
    sampler = Sampler(model, SHORT.model_copy(update={"image_size": pixels}), 0, "cpu")
    side = 128 if pixels is None else pixels // 2
    assert model.latent_shape == (4, side, side)
    assert model.image_shape == (2 * side, 2 * side, 3)
    assert architecture_of(model.transformer).rows(model.transformer, "embed.patch") == side**2 // 4
    if pixels is not None:
        (batch,) = sampler.batches(0, 4)
        assert batch.images.shape == (4, pixels, pixels, 3)


@pytest.mark.parametrize(
    ("name", "pixels", "right"),
    [
        ("flux", 14, "multiples of 4 from 4 to 1024"),
        ("flux", 2000, "multiples of 4 from 4 to 1024"),
        ("mmdit", 36, "multiples of 4 from 4 to 32"),
        ("mmdit", 10, "multiples of 4 from 4 to 32"),
    ],
)
def test_a_size_that_a_transformer_cannot_make_is_refused(tmp_path, name, pixels, right):
    other = load_model(str(save(name, tmp_path / name)[0]))
    with pytest.raises(BenchError, match=f"image_size {pixels} .* makes images of {right}$"):
        other.configure(SHORT.model_copy(update={"image_size": pixels}))


def test_a_dit_has_one_size(tiny_folder):
    model = load_model(str(tiny_folder))
    model.configure(PROTOCOLS["smoke"].model_copy(update={"image_size": 16}))
    assert model.image_shape[0] == 16
    with pytest.raises(BenchError, match="makes images of 16 alone, its own size"):
        model.configure(PROTOCOLS["smoke"].model_copy(update={"image_size": 32}))


def test_an_mmdit_makes_other_sizes(tmp_path):
    other = loaded(*save("mmdit", tmp_path / "mmdit"))
    whole = Sampler(other, SHORT, 0, "cpu")
    small = Sampler(other, SHORT.model_copy(update={"image_size": 8}), 0, "cpu")
    (batch,) = small.batches(0, 4)
    assert batch.images.shape == (4, 8, 8, 3)
    assert whole.schedule.times.tolist() == small.schedule.times.tolist()


def test_a_size_that_is_not_given_is_in_no_fingerprint():
    protocol, sized = PROTOCOLS["smoke"], SHORT
    assert "image_size" not in protocol.sampling()
    assert sized.sampling()["image_size"] == 16


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"in_channels": 18}, "in_channels must be .*multiple of 4"),
        ({"out_channels": 4}, r"out_channels 4 must be in_channels \(16\)"),
        ({"axes_dims_rope": [2, 2, 2]}, "add up to attention_head_dim 8"),
        ({"patch_size": 2}, "patch_size must be 1"),
    ],
)
def test_configurations_that_are_not_supported(tmp_path, changes, sentence):
    folder = save("flux", tmp_path / "flux")[0]
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")
    with pytest.raises(BenchError, match=sentence):
        read_pipeline(folder)
