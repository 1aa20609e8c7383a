"""Realizations: quantized models of one method that differ in what the method draws."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from records_of import record_of
from scipy.stats import t

from mpqbench.api.jobs import prepare
from mpqbench.core.errors import BenchError
from mpqbench.core.registry import discover
from mpqbench.core.suite import Suite
from mpqbench.job.context import JobContext
from mpqbench.job.fingerprints import samples_fingerprint, search_fingerprint
from mpqbench.lab.suite import plan, with_methods
from mpqbench.records.schema import JobRecord
from mpqbench.records.statistics import combined_half_width
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


def realized(method, fds, wobble=(0.1, -0.1, 0.0), budget="W4A4", **changes):
    """One record for each FD, with replicates that are off by ``wobble`` times its number."""
    for number, fd in enumerate(fds):
        off = tuple((1 + number) * each for each in wobble)
        job = f"{method}-{number}"
        yield record_of(method, budget, fd, job=job, realization=number, wobble=off, **changes)


def test_a_row_is_the_mean_and_its_interval_has_both_parts():
    full = record_of("full-precision", "FP", 1.0, job="fp", wobble=(0.05, 0.0, -0.05))
    records = [full, *realized("gptq", (3.0, 2.0, 2.5)), *realized("rtn", (4.0, 4.0, 4.0))]
    rows = {row["method"]: row for row in leaderboard(records).rows}
    assert (rows["gptq"]["fd"], rows["gptq"]["realizations"]) == (2.5, 3)
    assert (rows["gptq"]["rank"], rows["rtn"]["rank"]) == (1, 2)
    # By hand: the jackknife of the mean of the three, less full precision; images are shared.
    means = [2.5 + 2 * off for off in (0.1, -0.1, 0.0)]
    own = [mean - off for mean, off in zip(means, (1.05, 1.0, 0.95), strict=True)]
    middle = sum(own) / 3
    images = 2 / 3 * sum((each - middle) ** 2 for each in own)
    between = 0.25 / 3  # the sample variance of 3, 2 and 2.5, over 3 realizations
    freedom = (images + between) ** 2 / (images**2 / 2 + between**2 / 2)
    half = t.ppf(0.975, freedom) * (images + between) ** 0.5
    assert rows["gptq"]["fd_delta"] == pytest.approx(1.5)
    assert rows["gptq"]["fd_delta_ci"] == pytest.approx(half)
    assert rows["rtn"]["fd_delta_ci"] > 0
    (alone,) = leaderboard(next(zip(realized("gptq", (3.0,)), strict=False))).rows
    assert "realizations" not in alone


def test_a_row_is_done_with_all_its_realizations():
    first, lost, last = realized("gptq", (3.0, 2.0, 2.5))
    failed = lost.model_copy(update={"status": "diverged", "reason": "NaN", "scores": {}})
    (row,) = leaderboard([first, failed, last]).rows
    assert (row["status"], row["reason"], row["realizations"]) == (
        "diverged", "realization 1: NaN", 2
    )  # fmt: skip
    assert row["fd"] is None


def test_the_interval_covers_the_mean_of_all_models():
    """Gaussian realizations and images of known variances: 95 % of 4,000 intervals cover zero."""
    rng, groups, covered, runs = np.random.default_rng(0), 20, 0, 4000
    for _ in range(runs):
        of_groups, of_models = rng.normal(0, 1, groups), rng.normal(0, 0.3, 3)
        mean = of_groups.mean() + of_models.mean()
        replicates = [mean + (of_groups.mean() - each) / (groups - 1) for each in of_groups]
        half = combined_half_width(replicates, [(of_models.var(ddof=1) / 3, 2)])
        covered += abs(mean) <= half
    assert 0.935 <= covered / runs <= 0.965


def test_the_interval_of_one_model_covers_too_little():
    rng, groups, covered, runs = np.random.default_rng(0), 20, 0, 4000
    for _ in range(runs):
        of_groups = rng.normal(0, 1, groups)
        mean = of_groups.mean() + rng.normal(0, 0.3)
        replicates = [mean + (of_groups.mean() - each) / (groups - 1) for each in of_groups]
        covered += abs(mean) <= combined_half_width(replicates, [])
    assert covered / runs < 0.85
