"""Scores of several sampling steps against a plain loop over a quantized model."""

import numpy as np
import pytest
import torch
from tiny_quantizer import W8A8, quantized, quantizer

from mpqbench.baselines.objectives.trajectory_mse import TrajectoryMSE
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.formats import ActivationFormat
from mpqbench.core.precision import FULL, Precision
from mpqbench.dit.calibration import CalibrationSet
from mpqbench.dit.groups import layer_groups
from mpqbench.dit.sampling import image_seed
from mpqbench.dit.schedule import build_schedule
from mpqbench.dit.scheduler_configs import SchedulerConfig
from mpqbench.methods.treeq.eng import EnvironmentalNoise
from mpqbench.quant.activation import StepRanges
from mpqbench.search.engine import Engine
from mpqbench.search.rollout import Stepper, build_rollout
from mpqbench.search.setup import EngineSettings, clean

CHOICES = [Precision(w, a) for w in (2, 4) for a in (3, 8)]
COUNT, LAST, SEED = 5, 6, 9


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


def _schedule(sampler="ddim"):
    return build_schedule(SchedulerConfig(clip_sample=False), sampler, LAST, "original", True)


def _inputs(positions):
    generator = torch.Generator().manual_seed(0)
    times = torch.tensor(_schedule().model_times)[torch.tensor(positions)]
    latents = torch.randn(COUNT, 4, 8, 8, generator=generator)
    return CalibrationSet(latents, times, torch.arange(COUNT) % 4)


SPREAD = _inputs([0, 5, 2, 4, 3])  # the second has one step left, the fourth two


def _scorer(model, steps=3, inputs=SPREAD, sampler="ddim", own=None, **settings):
    settings = EngineSettings(**({"adaln": W8A8, "batch": 3} | settings))
    engine = Engine(model, layer_groups(model), own or quantizer(), inputs, settings)
    choices = dict.fromkeys(engine.groups, CHOICES)
    return build_rollout(engine, choices, TrajectoryMSE(steps), Stepper(_schedule(sampler), SEED))


def _plain(model, partial, steps, sampler, adaln=W8A8, **settings):
    """Mean squared error of final latents, one input after another."""
    schedule = _schedule(sampler)

    def ends():
        found = []
        for number in range(COUNT):
            latent, y = SPREAD.latents[number : number + 1], SPREAD.classes[number : number + 1]
            start = schedule.model_times.index(int(SPREAD.times[number]))
            for at in range(start, min(start + steps, LAST)):
                time = torch.tensor([schedule.model_times[at]])
                noise = torch.Generator().manual_seed(image_seed(SEED, f"rollout/{at}", number))
                latent = schedule.step(model(latent, time, y).sample, at, latent, [noise])
            found.append(latent)
        return torch.cat(found).double()

    with torch.inference_mode():
        exact = ends()
        with quantized(model, FULL, adaln, changes=partial, **settings):
            given = ends()
    return float((given - exact).square().mean())


def _allocations(groups, count=4):
    rng = np.random.default_rng(1)
    return [{g: CHOICES[rng.integers(len(CHOICES))] for g in groups} for _ in range(count)]


@pytest.mark.parametrize(("sampler", "bits"), [("ddim", None), ("ddpm", None), ("ddim", 4)])
@pytest.mark.parametrize("steps", [1, 3])
def test_scores_are_those_of_a_plain_loop(model, sampler, bits, steps):
    scorer = _scorer(model, steps, sampler=sampler, attention_bits=bits)
    groups = scorer.engine.groups
    asked = [*_allocations(groups), {groups[5]: CHOICES[0]}, {groups[0]: CHOICES[1]}]
    asked += [asked[1]]
    scores, _ = scorer.scores(asked)
    expected = [_plain(model, each, steps, sampler, attention_bits=bits) for each in asked]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-10)
    assert scores[1] == scores[-1]


def test_the_environment_is_around_every_step(model):
    base, noise = Precision(3, 4), EnvironmentalNoise(noise=1.0)

    def outside(group, inputs, batch):
        return noise.layer(group, base, inputs, seed=batch)

    scorer = _scorer(model, outside=outside)
    groups = scorer.engine.groups
    part = {groups[2]: CHOICES[3], groups[4]: CHOICES[1]}
    whole = dict.fromkeys(groups, base) | part
    assert scorer.scores([part])[0] == pytest.approx(scorer.scores([whole])[0], rel=1e-6)
    assert scorer.scores([part])[0] > 1.2 * _scorer(model, outside=clean).scores([part])[0]


def test_forwards_are_counted_and_never_above_the_price(model):
    scorer = _scorer(model)
    engine = scorer.engine
    late = [{engine.groups[6]: choice} for choice in CHOICES]
    engine.errors(late[:1])  # what lies before group 6 is kept from here on
    _, forwards = scorer.scores([*late, late[0]])
    assert forwards == pytest.approx(4 * (engine.price(late[0]) + 2))  # the fifth is the first
    assert forwards <= sum(map(scorer.price, [*late, late[0]]))
    _, whole = scorer.scores(_allocations(engine.groups, 1))
    assert whole == pytest.approx(3)
    fresh = _scorer(model)
    _, first = fresh.scores(late[:1])
    assert first <= fresh.price(late[0]) == 3


def test_the_table_is_every_group_alone(model):
    scorer = _scorer(model, 2)
    table, forwards = scorer.table()
    group = scorer.engine.groups[3]
    alone = scorer.scores([{group: choice} for choice in CHOICES])[0]
    np.testing.assert_allclose(table[group], alone, rtol=1e-6)
    assert list(table) == list(scorer.engine.groups)
    assert 0 < forwards <= scorer.table_price() == 2 * len(CHOICES) * len(table)


@pytest.mark.parametrize("adaln", [FULL, W8A8])
def test_time_grouped_grids_follow_each_step(model, adaln):
    """Grids so different in two halves of time that a wrong one would show."""
    groups = layer_groups(model)
    ranges = StepRanges(
        torch.tensor([0, 999]), torch.tensor([-0.1, -9.0]), torch.tensor([0.1, 9.0])
    )
    known = {path: ranges for group in groups for path in group.layers}
    fmt = ActivationFormat(granularity="tensor", time_groups=2)
    settings = {"activation_format": fmt, "static_ranges": known}
    scorer = _scorer(model, own=quantizer(**settings), adaln=adaln)
    own = dict.fromkeys(scorer.engine.groups, Precision(4, 4))
    expected = _plain(model, own, 3, "ddim", adaln=adaln, **settings)
    assert scorer.scores([own])[0][0] == pytest.approx(expected, rel=1e-5)
