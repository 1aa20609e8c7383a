"""Realizations: quantized models of one method that differ in what the method draws."""

import re
from dataclasses import replace

import pytest
import torch
from records_of import record_of

from mpqbench.api import prepare
from mpqbench.core.errors import BenchError
from mpqbench.core.registry import discover
from mpqbench.core.suite import Suite
from mpqbench.job.context import JobContext
from mpqbench.job.fingerprints import samples_fingerprint, search_fingerprint
from mpqbench.lab.suite import plan, with_methods
from mpqbench.records.frame import records_frame, rows_of, seed_means
from mpqbench.records.schema import JobRecord, Score
from mpqbench.report.table import leaderboard

OWN = {"base": "awq", "name": "own", "realizations": 1}
SHORT = {"images": 4, "steps": 2, "micro_batch": 4, "calibration": 4, "features": "none"}


def suite(*methods, **changes):
    return Suite(name="s", methods=methods, budgets=("W4A4",), **changes)


def test_jobs_of_a_suite_are_realized_and_full_precision_once():
    jobs = plan(suite("rtn", OWN, realizations=3, seeds=(5, 6)), discover(), "cpu")
    found = [(job.recipe.name, job.seed, job.realization) for job in jobs]
    per_seed = [("full-precision", 0), ("rtn", 0), ("own", 0), ("rtn", 1), ("rtn", 2)]
    assert found == [(name, seed, number) for seed in (5, 6) for name, number in per_seed]
    marks = [re.findall(r"__s5(.*)__p", job.id) for job in jobs[1:5]]
    assert marks == [[""], [""], ["__r1"], ["__r2"]]
    assert jobs[4].reference == jobs[0]


def test_methods_that_are_picked_keep_their_number():
    picked = with_methods(suite("rtn", OWN, realizations=3), ("own",))
    assert len(plan(picked, discover(), "cpu")) == 2


@pytest.mark.parametrize("wrong", [0, 1001, True, 1.5, "3"])
def test_another_number_is_refused(wrong):
    with pytest.raises(BenchError, match=r"method 'own' has realizations .* from 1 to 1000"):
        plan(suite({**OWN, "realizations": wrong}), discover(), "cpu")


@pytest.fixture(scope="module")
def opened(tiny_folder, tmp_path_factory):
    """Gives the context of the job of a seed and a realization, all with one cache."""
    out = tmp_path_factory.mktemp("realizations") / "out"
    prepared = prepare("smoke", models=[str(tiny_folder)], out=out, **SHORT)
    job, resources = prepared.jobs[1], prepared.session.resources

    def call(seed, realization):
        return JobContext.open(replace(job, seed=seed, realization=realization), resources)

    return call


def inputs(context):
    return context.recordings.inputs().latents


def measured(context):
    noise, _, _ = context.measured.sampler_of("noise").begin(0)
    return torch.cat([noise, context.measured.held_out.inputs.latents])


def test_calibration_depends_on_the_realization_and_what_is_measured_on_the_seed(opened):
    first, noise, other = opened(0, 0), opened(1, 0), opened(0, 1)
    assert torch.equal(inputs(first), inputs(noise))
    assert not torch.equal(inputs(first), inputs(other))
    assert torch.equal(measured(first), measured(other))
    assert not torch.equal(measured(first), measured(noise))


def test_no_noise_of_calibration_is_measured(opened):
    context = opened(1, 1)
    axes = "calibration", "calibration-spans", "correction", "tuning", "tuning-held-out"
    drawn = [context.recordings.sampler_of(axis).begin(0)[0] for axis in axes]
    for seen in (image for noise in drawn for image in noise):
        assert not any(torch.equal(seen, image) for image in measured(context))


def test_what_methods_draw_depends_on_the_realization_alone(opened):
    path = next(iter(opened(0, 0).calibration.group_of))
    seeds = [opened(*where).calibration.layer_data(path).seed for where in ((0, 0), (1, 0), (0, 1))]
    assert seeds[0] == seeds[1] != seeds[2]


def test_searches_are_shared_by_seeds_and_samples_by_none(opened):
    contexts = [opened(*where) for where in ((0, 0), (1, 0), (0, 1))]
    searches = [search_fingerprint(context) for context in contexts]
    assert searches[0] == searches[1] != searches[2]
    samples = {samples_fingerprint(context.job, context.resources) for context in contexts}
    assert len(samples) == 3


def test_a_record_without_a_realization_is_the_first():
    text = record_of(job="a").model_dump_json(exclude={"realization"})
    assert JobRecord.model_validate_json(text).realization == 0


def test_realizations_of_a_seed_are_no_seeds_and_have_no_interval_of_independent_images():
    def scored(job, number):
        scores = {"fd": Score(value=1.0 + number, ci=0.3)}
        return record_of(job=job).model_copy(update={"realization": number, "scores": scores})

    frame = records_frame([scored("a", 0), scored("b", 1)])
    (row,) = rows_of(seed_means(frame, ["fd"], ["bytes"]))
    assert (row["fd"], row["fd_ci"], row["seeds"], row["seeds_done"]) == (1.5, None, 1, 1)


def test_realizations_are_ranked_apart_and_told_apart():
    own = [
        record_of(method, fd=fd, job=f"{method}-{number}", realization=number)
        for method, fd, number in (("rtn", 3.0, 0), ("rtn", 2.0, 1), ("gptq", 2.5, 0))
    ]
    table = leaderboard([record_of("full-precision", "FP", fd=1.0, job="fp"), *own])
    ranks = {(row["method"], row["realization"]): row["rank"] for row in table.rows}
    assert ranks == {("full-precision", 0): None, ("gptq", 0): 1, ("rtn", 0): 2, ("rtn", 1): 1}
    first = leaderboard([record_of("full-precision", "FP", fd=1.0, job="fp"), own[0]])
    assert "realization" not in first.frame
