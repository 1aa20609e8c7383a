"""A whole tree-structured search of the embedded model: the scoring engine against full forwards.

The rival scores every candidate by one forward of all calibration inputs through a model with the
candidate's precisions in it. It is given what does not change: weights rounded once for every
precision, full precision's outputs. It knows nothing of activations before or between candidates.
Seconds are the processor's, so run it with one thread (``OMP_NUM_THREADS=1``).

Smaller or larger by environment variables: ``INPUTS`` (32), ``KEEP`` (16), ``BLOCKS`` (12, the
first of the embedded model) and ``CHOICES`` (all; or e.g. ``W2A3,W3A4,W4A4,W8A8``).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mpqbench.contracts import LayerData
from mpqbench.formats import ActivationFormat, WeightFormat
from mpqbench.memory import keep_freed_memory
from mpqbench.methods.treeq.tss import TSS
from mpqbench.models.calibration import CalibrationSet, record_calibration
from mpqbench.models.groups import layer_groups
from mpqbench.models.loading import load_model
from mpqbench.precision import FULL, Allocation, Budget, Precision
from mpqbench.quant.apply import TRAINED_STEPS, quantize_model
from mpqbench.quant.build import Builder
from mpqbench.quant.ranges import Clock
from mpqbench.recipe import PROTOCOLS, PluginChoice, Protocol
from mpqbench.registry import discover
from mpqbench.search.counted import choices_within, measures
from mpqbench.search.problem import Problem
from mpqbench.search.scoring import JointScorer
from mpqbench.search.setup import build_engine

INPUTS, KEEP, BLOCKS = (
    int(os.environ.get(name, default))
    for name, default in (("INPUTS", 32), ("KEEP", 16), ("BLOCKS", 12))
)
CHOICES = [Precision.parse(text) for text in os.environ.get("CHOICES", "").split(",") if text]
SAMPLE = 20  # complete allocations by which a scoring with and without rounding is compared
BUDGET, ADALN = Budget.parse("W4A4"), Precision(8, 8)


@dataclass
class Setting:
    """What both scorers are given."""

    transformer: object
    inputs: CalibrationSet
    choices: dict
    costs: list

    @property
    def groups(self):
        return layer_groups(self.transformer)


@pytest.fixture(scope="module")
def setting():
    keep_freed_memory()
    model = load_model("fashion-dit")
    protocol = Protocol(**PROTOCOLS["quick"].model_dump() | {"calibration": INPUTS})
    inputs = record_calibration(model, protocol, 0, "cpu")
    transformer = model.transformer
    transformer.transformer_blocks = transformer.transformer_blocks[:BLOCKS]
    transformer.register_to_config(num_layers=BLOCKS)
    own = choices_within(BUDGET, CHOICES)
    groups = layer_groups(transformer)
    choices = {group.name: own for group in groups if group.searchable}
    return Setting(transformer, inputs, choices, measures(transformer, groups, BUDGET, own))


def plugins():
    """How both quantize: to nearest in the formats that recipes have by default."""
    registry = discover()
    return {
        "transform": registry.create("transform", PluginChoice(name="none")),
        "rounding": registry.create("rounding", PluginChoice(name="nearest")),
        "weight_format": WeightFormat(),
        "activation_format": ActivationFormat(),
        "layer_data": lambda path: LayerData(path, 0, 0),
    }


def engine_scorer(setting):
    build = Builder(**plugins(), static_ranges={}, clock=Clock(1, TRAINED_STEPS))
    engine = build_engine(
        setting.transformer, setting.groups, build, setting.inputs, adaln=ADALN, batch=INPUTS
    )
    return JointScorer(engine, setting.choices, setting.costs[0].table)


class FullForwards:
    """Scores by whole forwards; the quantized layers of every precision are made beforehand."""

    def __init__(self, setting):
        self.transformer, inputs = setting.transformer, setting.inputs
        self.arguments = (inputs.latents, inputs.times, inputs.classes)
        with torch.inference_mode():
            self.targets = self.transformer(*self.arguments).sample
        groups = setting.groups
        self.paths = {group.name: group.layers for group in groups}
        self.original = {p: self.transformer.get_submodule(p) for g in groups for p in g.layers}
        own = next(iter(setting.choices.values()))
        self.layers = {p: self._layers(groups, p) for p in own}
        for path, layer in self._layers(groups, FULL).items():
            self.transformer.set_submodule(path, layer)

    def _layers(self, groups, precision):
        allocation = Allocation({g.name: precision if g.searchable else ADALN for g in groups})
        with quantize_model(self.transformer, groups, allocation, **plugins()) as made:
            return made.layers

    def close(self):
        """The model as it was."""
        for path, layer in self.original.items():
            self.transformer.set_submodule(path, layer)

    def scores(self, allocations):
        return np.array([self._score(each) for each in allocations]), float(len(allocations))

    def price(self, allocation):
        return 1.0

    def _score(self, allocation):
        taken = [(path, p) for group, p in allocation.items() for path in self.paths[group]]
        for path, precision in taken:
            self.transformer.set_submodule(path, self.layers[precision][path])
        with torch.inference_mode():
            output = self.transformer(*self.arguments).sample
        for path, _ in taken:
            self.transformer.set_submodule(path, self.original[path])
        return float((output - self.targets).double().square().mean())


class RoundedAnew(FullForwards):
    """Full forwards as one would first write them: every candidate is quantized from the model."""

    def __init__(self, setting):
        super().__init__(setting)
        self.close()
        self.names = [group.name for group in setting.groups]
        self.own = setting.groups

    def _score(self, allocation):
        fixed = {g.name: ADALN for g in self.own if not g.searchable}
        whole = {name: allocation.get(name, fixed.get(name, FULL)) for name in self.names}
        with (
            quantize_model(self.transformer, self.own, Allocation(whole), **plugins()),
            torch.inference_mode(),
        ):
            output = self.transformer(*self.arguments).sample
        return float((output - self.targets).double().square().mean())


def per_scoring(rival, allocations):
    """Scores, and processor seconds each."""
    start = time.process_time()
    scores, _ = rival.scores(allocations)
    return scores, (time.process_time() - start) / len(allocations)


def test_rounding_anew_costs_more(setting):
    rng = np.random.default_rng(0)
    own = next(iter(setting.choices.values()))
    drawn = rng.integers(len(own), size=(SAMPLE, len(setting.choices)))
    some = [{g: own[i] for g, i in zip(setting.choices, row, strict=True)} for row in drawn]
    rival = FullForwards(setting)
    kept, kept_seconds = per_scoring(rival, some)
    rival.close()
    anew, anew_seconds = per_scoring(RoundedAnew(setting), some)
    print(f"\nfull forwards: {1e3 * kept_seconds:.0f} ms a scoring")
    print(f"weights rounded anew as well: {1e3 * anew_seconds:.0f} ms")
    np.testing.assert_allclose(anew, kept, rtol=1e-6)
    assert anew_seconds > kept_seconds


def searched(setting, scorer):
    """The problem after a search, the allocation, and its processor seconds."""
    problem = Problem(list(setting.choices), setting.choices, setting.costs, BUDGET, scorer=scorer)
    start = time.process_time()
    found = TSS(keep=KEEP).search(problem)
    return problem, found, time.process_time() - start


def merges(problem, column):
    return np.concatenate([np.asarray(part[column]) for part in problem.notes["merges"]])


def test_a_whole_search(setting):
    start = time.process_time()
    scorer = engine_scorer(setting)
    engine, found, seconds = searched(setting, scorer)
    setup = time.process_time() - start - seconds
    rival = FullForwards(setting)
    try:
        full, expected, rival_seconds = searched(setting, rival)
    finally:
        rival.close()
    ratio = rival_seconds / seconds
    print(f"\n{len(engine.trace.rows)} scorings of {len(engine.groups)} groups, {INPUTS} inputs")
    print(f"engine:        {seconds:7.1f} s, {engine.spent:7.0f} forwards, setup {setup:.1f} s")
    print(f"full forwards: {rival_seconds:7.1f} s, {full.spent:7.0f} forwards")
    print(f"ratio:         {ratio:7.2f}")
    assert found == expected
    assert (merges(engine, "groups") == merges(full, "groups")).all()
    assert (merges(engine, "kept") == merges(full, "kept")).all()
    np.testing.assert_allclose(merges(engine, "score"), merges(full, "score"), rtol=1e-6)
    if INPUTS >= 32 and KEEP >= 16 and BLOCKS == 12 and not CHOICES:
        assert ratio >= 3
