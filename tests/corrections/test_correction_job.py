"""The correction slot of a recipe, in whole runs and in the sampler."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_quantizer import quantizer

from mpqbench import api
from mpqbench.contracts import CorrectionSize, Operations, Prediction
from mpqbench.core.precision import Precision
from mpqbench.core.progress import Reporter
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.job.correct import AXIS, fit_steps
from mpqbench.quant.apply import quantize_model

SUITE = """
name: corrected
protocol: {base: smoke, images: 8, steps: 3, micro_batch: 4, calibration: 4, features: none}
budgets: [W3A3]
methods:
  - rtn
  - {base: rtn, name: corrected, correction: {name: unbiased, images: 24, horizon: 0}}
"""


def run(folder, model, **settings):
    suite = folder / "corrected.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    records = api.run(str(suite), models=[str(model)], out=folder, reporter=Reporter(), **settings)
    return {record.method: record for record in records}


def latents(folder, method):
    (path,) = (folder / "samples").glob(f"*__{method}__*")
    return np.concatenate([np.load(shard)["latents"] for shard in sorted(path.glob("*.npz"))])


def test_a_corrected_job_is_counted_and_closer_to_full_precision(tiny_folder, tmp_path):
    records = run(tmp_path, tiny_folder)
    plain, own = records["rtn"], records["corrected"]
    assert own.seconds["correct"] > 0
    # 3 steps of 4 channels: 5 bands with 3 factors, 8 x 8 offsets, 2 bytes each.
    assert own.costs.bytes - plain.costs.bytes == 3 * 4 * (5 * 3 + 64) * 2
    values = 4 * 64
    operations = (4 * (8 + 8) + 3) * values * 256 + 3 * values * 16
    assert own.costs.bitops - plain.costs.bitops == operations
    assert own.costs.overhead["correction"] == operations
    assert own.costs.bitops_linear == plain.costs.bitops_linear
    # The error of single forwards is of the model and knows no sampler.
    assert own.scores["noise_mse"] == plain.scores["noise_mse"]
    full, rounded, corrected = (
        latents(tmp_path, method) for method in ("full-precision", "rtn", "corrected")
    )
    assert np.square(corrected - full).mean() < np.square(rounded - full).mean()
    # The images are the same ones when there are fewer of them and no other method.
    few = tmp_path / "few"
    few.mkdir()
    run(few, tiny_folder, methods=["corrected"], images=4)
    np.testing.assert_array_equal(latents(few, "corrected"), corrected[:4])


@pytest.fixture
def quantized(tiny_folder):
    """A tiny model at W3A3, quantized while the test runs."""
    model = load_model(str(tiny_folder))
    groups = layer_groups(model.transformer)
    handle = quantize_model(
        model.transformer,
        groups,
        uniform_allocation(groups, Precision(3, 3), Precision(8, 8)),
        quantizer(attention_bits=4),
    )
    with handle:
        yield model, handle


PROTOCOL = PROTOCOLS["smoke"].model_copy(update={"micro_batch": 4})


def test_a_prediction_is_guided_and_has_its_contrast(quantized):
    """Against single forwards; the original convention guides three of the four channels."""
    model, _ = quantized
    sampler = Sampler(model, PROTOCOL, 0, "cpu")
    x, classes, _ = sampler.begin(0)
    found, variance = sampler.predict(x, 500, classes)
    with torch.no_grad():
        times = torch.full((4,), 500)
        with_class = model.transformer(x, times, classes).sample
        without = model.transformer(x, times, torch.full((4,), model.classes)).sample
    wanted = with_class[:, :4].clone()
    wanted[:, :3] = without[:, :3] + 1.5 * (with_class - without)[:, :3]
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(found.noise, wanted, **close)
    torch.testing.assert_close(found.contrast, (with_class - without)[:, :4], **close)
    torch.testing.assert_close(variance, with_class[:, 4:], **close)
    unguided = Sampler(model, PROTOCOL.model_copy(update={"guidance": 1.0}), 0, "cpu")
    assert not unguided.predict(x, 500, classes)[0].contrast.any()


class Recorder(SimpleNamespace):
    """A correction that changes nothing and remembers at which step it was asked."""

    def __call__(self, prediction: Prediction, latents: torch.Tensor) -> torch.Tensor:
        self.calls.append(self.step)
        return prediction.noise


def test_every_step_has_its_own(quantized):
    model, _ = quantized
    calls: list[int] = []
    steps = [Recorder(step=step, calls=calls) for step in range(PROTOCOL.steps)]
    plain = next(Sampler(model, PROTOCOL, 0, "cpu").batches(0, 4))
    sampler = Sampler(model, PROTOCOL, 0, "cpu")
    sampler.corrections = steps
    own = next(sampler.batches(0, 4))
    assert calls == list(range(PROTOCOL.steps))
    np.testing.assert_array_equal(own.latents, plain.latents)


class Watcher:
    """A correction that keeps every step it is fitted on and adds a constant to the noise."""

    images = 8

    def __init__(self):
        self.seen = []

    def size(self, shape):
        return CorrectionSize(1, Operations(additions=math.prod(shape)))

    def fit(self, step):
        self.seen.append(step)
        return Adder()


class Adder:
    def __call__(self, prediction, latents):
        return prediction.noise + 0.01


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_step_is_told_what_both_models_do_and_what_would_lead_back(quantized, sampler):
    """Ways are walked again with plain samplers; DDPM draws the same noise on both."""
    model, handle = quantized
    protocol = PROTOCOL.model_copy(update={"sampler": sampler})
    plugin, own = Watcher(), Sampler(model, protocol, 3, "cpu", axis=AXIS)
    fitted = list(fit_steps(plugin, own, handle))
    assert len(fitted) == protocol.steps
    with handle.lifted():
        wanted = walked(Sampler(model, protocol, 3, "cpu", axis=AXIS))
    corrected = Sampler(model, protocol, 3, "cpu", axis=AXIS)
    corrected.corrections = fitted
    given = walked(corrected)
    close = {"atol": 1e-5, "rtol": 1e-5}
    for position, step in enumerate(plugin.seen):
        assert (step.position, step.steps) == (position, protocol.steps)
        torch.testing.assert_close(step.latents, given[position], **close)
        torch.testing.assert_close(step.path, wanted[position], **close)
        with handle.lifted(), torch.no_grad():
            time, classes = own.schedule.model_times[position], torch.arange(8) % model.classes
            here = own.predict(step.latents, time, classes)[0]
        torch.testing.assert_close(step.full.noise, here.noise, **close)
        moved = one_step(own, position, step)
        torch.testing.assert_close(moved, wanted[position + 1], atol=1e-3, rtol=1e-3)
    bar = float(own.schedule.scheduler.alphas_cumprod[0])
    assert step.mixture.image == pytest.approx((bar**-0.5, -(((1 - bar) / bar) ** 0.5)))


def walked(sampler):
    """Latents (8, c, h, w) before every step and behind the last."""
    seen = {}

    def keep(first, position, x, time, y):
        seen.setdefault(position, []).append(x.clone())

    ends = [torch.from_numpy(b.latents) for b in sampler.batches(0, 8, observe=keep)]
    return [torch.cat(seen[at]) for at in sorted(seen)] + [torch.cat(ends)]


def one_step(sampler, position, step):
    """Where the wanted noise leads, with the generators as they are at that step."""
    moved = []
    with torch.inference_mode():
        for at, first in enumerate((0, 4)):
            x, classes, generators = sampler.begin(first)
            for earlier in range(position + 1):
                time = sampler.schedule.model_times[earlier]
                rows = slice(4 * at, 4 * at + 4)
                x = step.latents[rows] if earlier == position else x
                _, rest = sampler.predict(x, time, classes)
                noise = step.wanted[rows] if earlier == position else torch.zeros_like(x)
                x = sampler.schedule.step(torch.cat([noise, rest], 1), earlier, x, generators)
            moved.append(x)
    return torch.cat(moved)
