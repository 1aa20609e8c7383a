"""Scorings, forwards and seconds of tree-structured search over chains of 12 to 96 groups.

After the leaves there are at most (n - 1) keep^2 scorings. With scores from tables, the seconds are
those of the search itself and of counting cost; seconds and scorings double with the groups. The
scoring engine is measured on random transformers of 3 to 24 blocks: scorings and forwards double,
but a forward takes twice as long too, so that groups run (forwards times groups) and seconds grow
faster than the number of groups.
"""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from mpqbench.baselines.objectives.output_mse import OutputMSE
from mpqbench.contracts import LayerData
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Budget, Precision
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover
from mpqbench.dit.calibration import CalibrationSet
from mpqbench.dit.groups import layer_groups
from mpqbench.methods.treeq.tss import TSS
from mpqbench.quant.build import GroupQuantizer
from mpqbench.search.budget_costs import measures
from mpqbench.search.engine import Engine
from mpqbench.search.problem import Problem
from mpqbench.search.scoring import JointScorer
from mpqbench.search.setup import EngineSettings
from mpqbench.search.tabular import TabularScorer, tabular_problem

GROUPS = (12, 24, 48, 96)
CHOICES = [Precision(w, a) for w in (2, 3, 4, 5, 6, 8) for a in (3, 4, 5, 6, 8)]
RATIO = 2.3
BUDGET, INPUTS, KEEP = Budget.parse("W4A4"), 4, 4  # of the engine's searches
FEW = [Precision(2, 3), Precision(3, 4), Precision(4, 4), Precision(5, 5), Precision(8, 8)]


def problem_of(groups):
    """Return a chain whose error falls with the bits and whose neighbours interact."""
    rng = np.random.default_rng(0)
    own = sorted(CHOICES, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits))
    errors = np.array([4.0**-p.weight_bits + 4.0**-p.activation_bits for p in own])
    scores = {f"group{n}": errors * rng.lognormal(0, 1.5) for n in range(groups)}
    pairs = {(a, b): 0.5 * np.sqrt(np.outer(scores[a], scores[b])) for a, b in pairwise(scores)}
    scorer = TabularScorer(dict.fromkeys(scores, own), scores, pairs)
    return tabular_problem(dict.fromkeys(scores, 1.0), own, scorer, Budget.parse("W4A4"))


@pytest.mark.parametrize("groups", GROUPS)
def bench_tss(benchmark, groups):
    setup = lambda: ((problem_of(groups),), {})  # noqa: E731 - what pytest-benchmark asks for
    benchmark.pedantic(TSS().search, setup=setup, rounds=3, warmup_rounds=1)


def seconds_of(groups):
    """Return the scorings, and the least processor seconds of three runs."""
    seconds = []
    for _ in range(3):
        problem = problem_of(groups)
        start = time.process_time()
        TSS().search(problem)
        seconds.append(time.process_time() - start)
    return problem.spent, min(seconds)


def test_scorings_and_seconds_double_with_the_groups():
    TSS().search(problem_of(2))  # imports
    measured = [seconds_of(groups) for groups in GROUPS]
    for groups, (spent, seconds) in zip(GROUPS, measured, strict=True):
        print(f"{groups:3} groups: {spent:6.0f} scorings, {seconds:5.2f} s")
        assert spent <= groups * len(CHOICES) + (groups - 1) * 16**2
    for before, after in pairwise(measured):
        assert after[0] / before[0] <= RATIO
    assert (measured[-1][1] / measured[0][1]) ** (1 / 3) <= RATIO  # of one doubling, on average


def random_chain(groups):
    """Make a transformer of width 32 with ``groups`` searchable groups."""
    from diffusers import DiTTransformer2DModel

    torch.manual_seed(0)
    model = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=8,
        num_layers=groups // 4,
        sample_size=8,
        num_embeds_ada_norm=3,
        norm_elementwise_affine=False,
    )
    return model.eval().requires_grad_(False)


def engine_of(transformer):
    registry, generator = discover(), torch.Generator().manual_seed(0)
    inputs = CalibrationSet(
        torch.randn(INPUTS, 4, 8, 8, generator=generator),
        torch.arange(INPUTS) * (1000 // INPUTS),
        torch.arange(INPUTS) % 4,
    )
    build = GroupQuantizer(
        registry.create("transform", PluginChoice(name="none")),
        registry.create("rounding", PluginChoice(name="nearest")),
        WeightFormat(),
        ActivationFormat(),
        lambda path: LayerData(path, 0, 0),
    )
    return Engine(
        transformer, layer_groups(transformer), build, inputs, EngineSettings(batch=INPUTS)
    )


def searched_chain(groups):
    """Return scorings, forwards and processor seconds of a search, and those of one forward."""
    transformer = random_chain(groups)
    engine = engine_of(transformer)
    choices = dict.fromkeys(engine.groups, FEW)
    costs = measures(transformer, layer_groups(transformer), BUDGET, FEW)
    scorer = JointScorer(engine, choices, costs[0].table, OutputMSE())
    problem = Problem(engine.groups, choices, costs, BUDGET, scorer=scorer)
    start = time.process_time()
    found = TSS(keep=KEEP).search(problem)
    seconds = time.process_time() - start
    start = time.process_time()
    for _ in range(10):
        engine.errors([found])
    return len(problem.trace.rows), problem.spent, seconds, (time.process_time() - start) / 10


def test_scorings_and_forwards_of_the_engine_double_with_the_groups():
    measured = [searched_chain(groups) for groups in GROUPS]
    print("\ngroups  scorings  forwards  groups run  seconds  one forward  seconds a scoring")
    for groups, (scorings, forwards, seconds, one) in zip(GROUPS, measured, strict=True):
        each = seconds / scorings
        print(
            f"{groups:6} {scorings:9} {forwards:9.0f} {forwards * groups:11.0f} {seconds:8.2f} "
            f"{1e3 * one:9.1f} ms  {1e3 * each:5.2f} ms = {each / one:.2f} forwards"
        )
        assert scorings <= groups * len(FEW) + (groups - 1) * KEEP**2
    for before, after in pairwise(measured):
        assert after[0] / before[0] <= RATIO
        assert after[1] / before[1] <= RATIO
