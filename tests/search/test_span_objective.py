"""Errors that last count, those that cancel do not; inputs are runs of one image's steps."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpqbench.baselines.objectives.span_mse import SpanMSE
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Budget, Precision
from mpqbench.core.protocol import Protocol
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover
from mpqbench.core.suite import Job
from mpqbench.dit.calibration import evaluate, record_spans
from mpqbench.dit.groups import uniform_allocation
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.job.context import JobContext
from mpqbench.job.resources import Resources
from mpqbench.job.search_stage import search_problem
from mpqbench.job.stages import quantize

PROTOCOL = Protocol(
    name="test", images=4, steps=5, micro_batch=4, calibration=13, features="none", guidance=1.5
)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


def spans_of(model, protocol, span):
    return record_spans(Sampler(model, protocol, 0, "cpu", axis="calibration-spans"), span)


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_a_score_is_the_squared_sum_of_a_run(span, runs, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(runs * span, 2, 3, 3, generator=generator)
    outputs = torch.randn(2, *targets.shape, generator=generator)
    scores = SpanMSE(span).distance(outputs, targets)
    for candidate in range(2):
        for row in range(runs * span):
            own = range(row // span * span, row // span * span + span)
            total = sum(outputs[candidate, i] - targets[i] for i in own)
            expected = float((total.double() ** 2).mean()) / span
            assert float(scores[candidate, row]) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_runs_are_consecutive_steps_of_one_image_of_an_axis_of_their_own(model):
    spans = spans_of(model, PROTOCOL, 3)
    assert len(spans) == 12  # 13 inputs hold four runs of 3
    seen = {}

    def keep(first, position, latents, time, classes):
        for slot, x in enumerate(latents):
            seen.setdefault((first + slot, position), (x, time, int(classes[slot])))

    list(Sampler(model, PROTOCOL, 0, "cpu", axis="calibration-spans").batches(0, 4, observe=keep))
    begins = []
    for image in range(4):
        rows = slice(3 * image, 3 * image + 3)
        places = [p for p in range(5) if seen[image, p][1] == int(spans.times[rows][0])]
        begins.append(places[0])
        for step in range(3):
            x, time, label = seen[image, begins[-1] + step]
            assert torch.equal(spans.latents[rows][step], x)
            assert int(spans.times[rows][step]) == time
            assert int(spans.classes[rows][step]) in (label, model.classes)
        assert len(spans.classes[rows].unique()) == 1
    assert Counter(begins) == {0: 2, 2: 2}  # two places cover five steps
    assert int((spans.classes == model.classes).sum()) == 6


def test_more_steps_or_inputs_than_there_are_is_one_sentence(model):
    with pytest.raises(BenchError, match="span 6 is longer than the 5 sampling steps"):
        spans_of(model, PROTOCOL, 6)
    few = PROTOCOL.model_copy(update={"calibration": 2})
    with pytest.raises(BenchError, match="span 3 is longer than the 2 inputs"):
        spans_of(model, few, 3)


def _context(model, tmp_path, **changes):
    registry = discover()
    recipe = registry.method("rtn").model_copy(
        update={
            "objective": PluginChoice(name="span-mse", params={"span": 3}),
            "choices": ("W3A3", "W4A4"),
            **changes,
        }
    )
    job = Job(model.name, recipe, Budget.parse("W4A4"), 0, PROTOCOL, "cpu")
    return JobContext.open(job, Resources(registry, "cpu", folder=tmp_path))


def test_a_search_sees_what_the_quantized_model_sums_up_to(model, tmp_path):
    context = _context(model, tmp_path)
    groups, transformer = context.groups, context.model.transformer
    problem, _ = search_problem(context)
    allocation = uniform_allocation(groups, Budget.parse("W3A3").precision, Precision.parse("W8A8"))
    score = problem.score({g: allocation[g] for g in problem.groups})
    spans = spans_of(model, PROTOCOL, 3)
    targets = evaluate(transformer, spans, 4)
    with quantize(context, allocation):
        outputs = evaluate(transformer, spans, 4)
    sums = (outputs - targets)[:, :4].double().unflatten(0, (-1, 3)).sum(1)
    assert score == pytest.approx(float(sums.square().mean()) / 3, rel=1e-3)
    assert math.isfinite(sum(map(sum, problem.table().values())))


def test_nothing_is_dropped_early(model, tmp_path):
    problem, _ = search_problem(_context(model, tmp_path, early_drop=0.05))
    with pytest.raises(BenchError, match="'span-mse' drops no candidate early"):
        problem.table()
