"""A whole tree-structured search of the embedded model: the scoring engine against full forwards.

Both rivals of the engine score a candidate by one forward of all calibration inputs through a model
with the candidate's precisions; neither reuses activations. The naive rival quantizes the model
anew for every candidate. The prepared rival, like the engine, rounds the weights once for every
precision. Seconds are processor time: run with one thread (``OMP_NUM_THREADS=1``).

Environment variables change the size: ``MODEL`` (fashion-dit), ``INPUTS`` (32), ``KEEP`` (16),
``BLOCKS`` (all; or the first of ``fashion-dit``) and ``CHOICES`` (all; or e.g.
``W2A3,W3A4,W4A4,W8A8``).
"""

import os
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mpqbench.baselines.objectives.output_mse import OutputMSE
from mpqbench.contracts import LayerData
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.memory import keep_freed_memory
from mpqbench.core.precision import FULL, Allocation, Budget, Precision
from mpqbench.core.protocol import PROTOCOLS, Protocol
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover
from mpqbench.dit.architectures import architecture_of
from mpqbench.dit.calibration import CalibrationSet, record_calibration
from mpqbench.dit.groups import layer_groups
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.methods.treeq.tss import TSS
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.build import GroupQuantizer
from mpqbench.search.budget_costs import choices_within, measures
from mpqbench.search.engine import Engine
from mpqbench.search.problem import Problem, Scorer
from mpqbench.search.scoring import JointScorer
from mpqbench.search.setup import EngineSettings

MODEL = os.environ.get("MODEL", "fashion-dit")
INPUTS, KEEP, BLOCKS = (
    int(os.environ.get(name, default))
    for name, default in (("INPUTS", 32), ("KEEP", 16), ("BLOCKS", 0))
)
CHOICES = [Precision.parse(text) for text in os.environ.get("CHOICES", "").split(",") if text]
BUDGET, ADALN = Budget.parse("W4A4"), Precision(8, 8)


@dataclass
class Setting:
    """What every scorer is given."""

    transformer: object
    inputs: CalibrationSet
    choices: dict
    costs: list

    @property
    def groups(self):
        return layer_groups(self.transformer)


@pytest.fixture(scope="module")
def setting():
    return make_setting()


def make_setting():
    """Load the model and record what the searches score on."""
    keep_freed_memory()
    model = load_model(MODEL)
    protocol = Protocol(**PROTOCOLS["quick"].model_dump() | {"calibration": INPUTS})
    inputs = record_calibration(Sampler(model, protocol, 0, "cpu", axis="calibration"))
    transformer = model.transformer
    if BLOCKS:
        transformer.transformer_blocks = transformer.transformer_blocks[:BLOCKS]
        transformer.register_to_config(num_layers=BLOCKS)
    own = choices_within(BUDGET, CHOICES)
    groups = layer_groups(transformer)
    choices = {group.name: own for group in groups if group.searchable}
    return Setting(transformer, inputs, choices, measures(transformer, groups, BUDGET, own))


def plugins():
    """Return what quantizes: rounding to nearest in the default formats of recipes."""
    registry = discover()
    return {
        "transform": registry.create("transform", PluginChoice(name="none")),
        "rounding": registry.create("rounding", PluginChoice(name="nearest")),
        "weight_format": WeightFormat(),
        "activation_format": ActivationFormat(),
        "layer_data": lambda path: LayerData(path, 0, 0),
    }


def engine_scorer(setting):
    settings = EngineSettings(adaln=ADALN, batch=INPUTS)
    engine = Engine(
        setting.transformer, setting.groups, GroupQuantizer(**plugins()), setting.inputs, settings
    )
    return JointScorer(engine, setting.choices, setting.costs[0].table, OutputMSE())


class Prepared(Scorer):
    """Scores by full forwards; the quantized layers of every precision are made beforehand."""

    def __init__(self, setting):
        self.transformer, inputs = setting.transformer, setting.inputs
        self.arguments = (inputs.latents, inputs.times, inputs.classes)
        with torch.inference_mode():
            self.targets = self._output()
        groups = setting.groups
        self.paths = {group.name: group.layers for group in groups}
        self.original = {p: self.transformer.get_submodule(p) for g in groups for p in g.layers}
        own = next(iter(setting.choices.values()))
        self.layers = {p: self._layers(groups, p) for p in own}
        for path, layer in self._layers(groups, FULL).items():
            self.transformer.set_submodule(path, layer)

    def _layers(self, groups, precision):
        allocation = Allocation({g.name: precision if g.searchable else ADALN for g in groups})
        with quantize_model(
            self.transformer, groups, allocation, GroupQuantizer(**plugins())
        ) as made:
            return made.layers

    def _output(self):
        return architecture_of(self.transformer).forward(self.transformer, *self.arguments)

    def close(self):
        """Restore the model."""
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
            output = self._output()
        for path, _ in taken:
            self.transformer.set_submodule(path, self.original[path])
        return float((output - self.targets).double().square().mean())


class Naive(Prepared):
    """Scores by full forwards of a model that is quantized anew for every candidate."""

    def __init__(self, setting):
        super().__init__(setting)
        self.close()
        self.names = [group.name for group in setting.groups]
        self.own = setting.groups

    def _score(self, allocation):
        fixed = {g.name: ADALN for g in self.own if not g.searchable}
        whole = {name: allocation.get(name, fixed.get(name, FULL)) for name in self.names}
        with (
            quantize_model(
                self.transformer, self.own, Allocation(whole), GroupQuantizer(**plugins())
            ),
            torch.inference_mode(),
        ):
            output = self._output()
        return float((output - self.targets).double().square().mean())


def searched(setting, scorer):
    """Search; return the problem, the allocation and the processor seconds."""
    problem = Problem(list(setting.choices), setting.choices, setting.costs, BUDGET, scorer=scorer)
    start = time.process_time()
    found = TSS(keep=KEEP).search(problem)
    return problem, found, time.process_time() - start


def merges(problem, column):
    return np.concatenate([np.asarray(part[column]) for part in problem.notes["merges"]])


@pytest.fixture(scope="module")
def engine(setting):
    """Run the engine's search once for both comparisons."""
    start = time.process_time()
    problem, found, seconds = searched(setting, engine_scorer(setting))
    setup = time.process_time() - start - seconds
    print(f"\n{len(problem.trace.rows)} scorings of {len(problem.groups)} groups, {INPUTS} inputs")
    print(f"engine:   {seconds:7.1f} s, {problem.spent:7.0f} forwards, setup {setup:.1f} s")
    return problem, found, seconds


@pytest.mark.parametrize(("rival", "least"), [(Prepared, 1), (Naive, 2)])
def test_a_whole_search(setting, engine, rival, least):
    problem, found, seconds = engine
    scorer = rival(setting)
    try:
        full, expected, rival_seconds = searched(setting, scorer)
    finally:
        scorer.close()
    ratio = rival_seconds / seconds
    name = rival.__name__.lower()
    print(f"\n{name + ':':9} {rival_seconds:7.1f} s, {full.spent:7.0f} forwards, ratio {ratio:.2f}")
    assert found == expected
    assert (merges(problem, "groups") == merges(full, "groups")).all()
    assert (merges(problem, "kept") == merges(full, "kept")).all()
    np.testing.assert_allclose(merges(problem, "score"), merges(full, "score"), rtol=1e-6)
    if INPUTS >= 32 and KEEP >= 16 and not BLOCKS and not CHOICES:
        assert ratio >= least
