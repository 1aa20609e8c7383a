"""Each family of checks catches a fault that is planted in a plugin that is otherwise right."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.conformance import checks, rounding
from mpqbench.contracts import (
    Branch,
    BranchSize,
    Correction,
    Environment,
    Objective,
    Rounding,
    Searcher,
    Transform,
    Tuner,
    plugin,
)
from mpqbench.core.errors import BenchError, Diverged, Exhausted, Infeasible
from mpqbench.core.formats import WeightFormat
from mpqbench.core.precision import Allocation
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.trainable import low_rank_adapter
from mpqbench.search.feasible import cheapest_feasible, only_allocation, random_feasible
from mpqbench.tuning.checkpoint import Checkpoint
from mpqbench.tuning.loop import TrainingCurve

PAIRS = WeightFormat(granularity="group", group=2)
LAYER, OUT = "transformer_blocks.1.attn1.to_k", "transformer_blocks.1.ff.net.2"


class Rounds(Rounding):
    """Nearest rounding with a ``change`` on layers whose name starts with ``on``."""

    def __init__(self, change=lambda result, *_: result, on="ordinary"):
        self.change, self.on = change, on

    def round(self, weight, layer, fmt, bits):
        result = quantize_weight(weight, fmt, bits, layer.name)
        if not layer.name.startswith(self.on):
            return result
        return self.change(result, weight, layer, fmt, bits)


def more_bits(result, weight, layer, fmt, bits):
    return replace(quantize_weight(weight, fmt, min(8, bits + 1), layer.name), bits=bits)


def finer(result, weight, layer, fmt, bits):
    pairs = PAIRS.model_copy(update={"symmetric": fmt.symmetric})
    return quantize_weight(weight, pairs, bits, layer.name)


def overwrites(result, weight, *_):
    weight.zero_()
    return result


ROUNDINGS = [
    (finer, "ordinary", "shapes", "numbers, the format"),
    (more_bits, "ordinary", "bits", "bits hold"),
    (lambda r, *_: replace(r, scale=r.scale * np.nan), "constant", "values", "not finite"),
    (overwrites, "constant", "repeatable", "weight is written into"),
    (lambda r, *_: replace(r, integers=r.integers // 2), "ordinary", "error", "times nearest"),
    (finer, "transformer_blocks", "model", "the model is counted with"),
]


class Scales(nn.Module):
    """One number per channel."""

    macs_factor, bits = 1, 16

    def __init__(self, weight, layer):
        super().__init__()
        self.keep(1 / weight.abs().amax(0).clamp(1e-6, 1e6))
        self.macs_per_token = self.macs_factor * layer.in_features
        self.extra_bits = self.bits * layer.in_features

    def keep(self, scale):
        self.register_buffer("scale", scale)

    def weight(self, weight):
        return weight * self.scale

    def input(self, x):
        return x / self.scale


class Transforms(Transform):
    """Scales with ``changes`` in the place of attributes and methods of the fitted transform."""

    def __init__(self, changes=None):
        self.fitted = type("Changed", (Scales,), dict(changes or {}))

    def fit(self, weight, layer):
        return self.fitted(weight, layer)


TRANSFORMS = [
    ({"input": lambda self, x: x / self.scale + 0.1}, "output", "differs from x @ W.T by"),
    ({"weight": lambda self, w: (w * self.scale).double()}, "shapes", "torch.float64"),
    ({"input": lambda self, x: x.detach() / self.scale}, "gradient", "has no gradient"),
    ({"input": lambda self, x: x.div_(self.scale)}, "repeatable", "x is written into"),
    ({"macs_factor": 0}, "cost", "macs_per_token is 0, but input executes 36 a row"),
    ({"bits": 8}, "cost", "extra_bits is 288, but input reads tensors that take 576 bits"),
    ({"keep": lambda self, s: setattr(self, "scale", s)}, "device", "no buffer of an nn.Module"),
]


class Branches(Branch):
    """Rank 2, with a ``change`` of the fitted branch and other ``sizes``."""

    def __init__(self, change=lambda fitted, target: None, **sizes):
        self.change, self.sizes = change, sizes

    def size(self, out_features, in_features):
        return replace(LowRank(rank=2).size(out_features, in_features), **self.sizes)

    def fit(self, target, layer):
        fitted = LowRank(rank=2).fit(target, layer)
        fitted.size = self.size(*target.shape)
        self.change(fitted, target)
        return fitted


def shifts(fitted, target):
    forward = fitted.forward
    fitted.forward = lambda x: forward(x) + 1


def negates(fitted, target):
    next(fitted.parameters()).data.neg_()


def other_size(fitted, target):
    fitted.size = replace(fitted.size, numbers=1)


BRANCHES = [
    (Branches(other_size), "size", "where size gave"),
    (Branches(lambda fitted, t: next(fitted.parameters()).data.mul_(np.inf)), "finite", "finite"),
    (Branches(shifts), "output", "the output differs from x @ dense().T"),
    (Branches(negates), "fit", "the branch leaves an error of"),
    (Branches(lambda fitted, target: target.zero_()), "repeatable", "target is written into"),
    (Branches(macs_per_token=1), "cost", "macs_per_token is 1, but the branch executes"),
]


class Searches(Searcher):
    """The best of 20 random allocations that fit."""

    def search(self, problem):
        only = only_allocation(problem)
        if only is not None:
            return only
        cheapest = cheapest_feasible(problem)
        with suppress(Exhausted):
            problem.score_many([random_feasible(problem) for _ in range(20)])
        return problem.best() or cheapest


def searcher(search, **fields):
    """A searcher that searches with ``search(problem, right)``; ``right`` is the right search."""
    fields["search"] = lambda self, problem: search(problem, Searches().search)
    return type("Faulty", (Searches,), fields)()


def first_measure_only(problem, right):
    found = dict(right(problem))
    for group in problem.groups:
        for choice in problem.choices(group):
            dearer = found | {group: choice}
            if problem.cost(dearer) <= problem.limit():
                found = dearer
    return Allocation(found)


def optimist(problem, right):
    try:
        return right(problem)
    except Infeasible:
        return Allocation({group: problem.choices(group)[0] for group in problem.groups})


def exhausts(problem, right):
    cheapest = cheapest_feasible(problem)
    if len(problem.choices(problem.groups[0])) > 1:
        problem.score_many([random_feasible(problem) for _ in range(20)])
    return problem.best() or cheapest


def extends(problem, right):
    problem.allowance = float("inf")
    return right(problem)


def curious(problem, right):
    with suppress(Exhausted):
        problem.score(cheapest_feasible(problem))
    return right(problem)


def global_dice(problem, right):
    problem.rng = np.random.default_rng(np.random.randint(1000))
    return right(problem)


def refuses(problem, right):
    if np.isfinite(problem.limits()).sum() > 1:
        raise BenchError("one measure only")
    return right(problem)


SEARCHERS = [
    (searcher(lambda p, right: Allocation(list(right(p).items())[1:])), "allocation", "lacks"),
    (searcher(first_measure_only), "budget", "weight bits"),
    (searcher(exhausts), "allowance", "budget W4A4, 0 forwards: Exhausted"),
    (searcher(extends), "allowance", "the search spends 20 forwards"),
    (searcher(optimist), "infeasible", "search must raise Infeasible, not give"),
    (searcher(curious), "unbounded", "1 forwards are spent where there is one choice"),
    (searcher(global_dice), "repeatable", "numbers must come from problem.rng"),
]


class Distance(Objective):
    def distance(self, outputs, targets):
        return (outputs.double() - targets.double()).square().flatten(2).mean(2)


class Table(Objective):
    def table(self, network):
        return {g: [16.0 - p.weight for p in network.choices(g)] for g in network.groups}


def distance(change):
    """An objective whose scores are ``change(scores, outputs, targets)``."""
    right = Distance().distance
    given = {"distance": lambda self, o, t: change(right(o.clone(), t), o, t)}
    return type("Faulty", (Objective,), given)()


def table(change):
    """An objective whose table is ``change(table, network)``."""
    given = {"table": lambda self, network: change(Table().table(network), network)}
    return type("Faulty", (Objective,), given)()


def prunes(found, network):
    network.group(network.groups[0])._group.weight.mul_(0.9)
    return found


OBJECTIVES = [
    (type("Nothing", (Objective,), {})(), "methods", "neither a method table nor a method"),
    (table(lambda found, _: dict(list(found.items())[1:])), "table", "the table has groups"),
    (table(lambda found, _: {g: [-s for s in own] for g, own in found.items()}), "direction",
     "lower must be better"),
    (table(prunes), "network", "is changed"),
    (distance(lambda s, o, t: s.mean(1)), "distance", "not torch.float64 (4, 3)"),
    (distance(lambda s, o, t: s / t.double().var()), "independent", "scores one by one differ"),
    (distance(lambda s, o, t: [s, o.zero_()][0]), "repeatable", "outputs is written into"),
]  # fmt: skip


class Surrounds(Environment):
    """Full precision, with a ``change(y, x, inputs, seed)`` of its output."""

    def __init__(self, change=lambda y, x, inputs, seed: y):
        self.change = change

    def layer(self, group, base, inputs, seed):
        return lambda x: self.change(group.full(x), x, inputs, seed)


class Changes(Surrounds):
    def layer(self, group, base, inputs, seed):
        group.weight.mul_(0.99)
        return group.full


def fresh_noise(y, x, inputs, seed):
    return y + torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))


def global_noise(y, x, inputs, seed):
    return y + torch.randn(inputs, *y.shape[1:]).repeat(len(y) // inputs, 1, 1)


ENVIRONMENTS = [
    (Surrounds(lambda y, *_: y.double()), "output", "torch.float64"),
    (Surrounds(fresh_noise), "candidates", "among 2 candidates the output of one is changed"),
    (Surrounds(global_noise), "repeatable", "the global generator of torch"),
    (Changes(), "network", "the weight of blocks.0.attn.qkv is changed"),
]


@plugin
class Tunes(PEFT):
    """Scales, zero points and biases, for a moment."""

    adapter: str = "none"
    steps: int = 4
    every: int = 2
    rate: float = 1e-2
    scale_rate: float = 1e-2


def tuner(tune):
    """A tuner that calls ``tune(student, data, right)``; ``right`` is the right tuning."""
    right = Tunes().tune
    return type("Faulty", (Tunes,), {"tune": lambda self, s, data: tune(s, data, right)})()


def after(change):
    """A tuner that changes the student after a right tuning."""

    def tune(student, data, right):
        curve = right(student, data)
        change(student)
        return curve

    return tuner(tune)


def understates(student):
    branch = low_rank_adapter(student.layers[LAYER], 2, 0)
    branch.size = BranchSize(branch.size.numbers - 1, branch.size.macs_per_token)
    student.add_branch(LAYER, branch)


def hides_divergence(student, data, right):
    try:
        return right(student, data)
    except Diverged:
        return TrainingCurve()


@plugin
class Idle(Tuner):
    def tune(self, student, data):
        own = student.rounded[LAYER]
        student.set_quantized_weight(LAYER, replace(own, zero=own.zero + 0.5))
        return TrainingCurve()


TUNERS = [
    (Idle(), "untouched", "without trajectories the student is changed"),
    (tuner(lambda s, d, right: TrainingCurve(right(s, d).rows[1:], "steps")), "curve", "begins"),
    (after(lambda s: s.layers[OUT].bias.add_(1.0)), "error", "the held-out error rises"),
    (after(lambda s: s.layers[LAYER].weight.add_(1e-3)), "grids", "is off its grid"),
    (after(understates), "cost", "numbers, not"),
    (after(lambda s: s.layers[LAYER].register_forward_hook(lambda *_: None)), "model", "a hook"),
    (tuner(lambda s, d, right: right(s, replace(d, seed=int(torch.randint(9, ()))))), "repeatable",
     "numbers must come from data.seed"),
    (tuner(lambda s, d, right: right(s, replace(d, checkpoint=Checkpoint()))), "resumes",
     "begins anew"),
    (tuner(hides_divergence), "diverged", "ends as if nothing were wrong"),
]  # fmt: skip


class Shift:
    """Takes an ``offset`` away, with a ``change`` of the corrected noise."""

    macs_per_value = 1

    def __init__(self, offset, change):
        self.offset, self.change, self.numbers = offset, change, offset.numel()

    def __call__(self, prediction, latents):
        return self.change(prediction.noise - self.offset)


class Corrects(Correction):
    """The mean error at each place taken away."""

    images = 8

    def __init__(self, change=lambda noise: noise, before=lambda step: 0.0):
        self.change, self.before = change, before

    def fit(self, step):
        more = self.before(step)
        return Shift((step.quantized.noise - step.full.noise).mean(0) + more, self.change)


class Free(Corrects):
    def fit(self, step):
        fitted = super().fit(step)
        fitted.numbers = -1
        return fitted


CORRECTIONS = [
    (type("Half", (Corrects,), {"images": 2.5})(), "images", "2.5 is no number of images"),
    (Corrects(lambda noise: noise[:, :3]), "noise", "not torch.float32 (24, 4, 6, 6)"),
    (Corrects(lambda noise: noise + 0.01), "unchanged", "the noise changes by 0.01"),
    (Corrects(lambda noise: noise - noise.mean(0)), "single", "image 3 by itself differs"),
    (Free(), "cost", "are -1 and 1"),
    (Corrects(before=lambda step: step.full.noise.add_(1)[0] * 0), "repeatable", "written into"),
]

FAULTS = {
    "rounding": [(Rounds(change, on), *rest) for change, on, *rest in ROUNDINGS],
    "transform": [(Transforms(changes), *rest) for changes, *rest in TRANSFORMS],
    "branch": BRANCHES,
    "searcher": SEARCHERS,
    "objective": OBJECTIVES,
    "environment": ENVIRONMENTS,
    "tuner": TUNERS,
    "correction": CORRECTIONS,
}
RIGHT = {
    "rounding": Rounds(),
    "transform": Transforms(),
    "branch": Branches(),
    "searcher": searcher(refuses),
    "objective": Distance(),
    "environment": Surrounds(),
    "tuner": Tunes(),
    "correction": Corrects(),
}


@pytest.mark.parametrize(
    ("kind", "faulty", "check", "sentence"),
    [
        pytest.param(kind, *fault, id=f"{kind}-{fault[1]}-{number}")
        for kind, faults in FAULTS.items()
        for number, fault in enumerate(faults)
    ],
)
def test_a_planted_fault_is_caught(kind, faulty, check, sentence):
    (own,) = (each for each in checks(kind, faulty, quick=True) if each.name == check)
    with pytest.raises(AssertionError) as caught:
        own()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", RIGHT)
def test_a_plugin_without_a_fault_passes(kind):
    for check in checks(kind, RIGHT[kind], quick=True):
        check()


def test_a_forgotten_device_is_caught(monkeypatch):
    monkeypatch.setattr(rounding, "devices", lambda: [torch.device("meta")])
    forgets = Rounds(lambda r, *_: replace(r, zero=torch.zeros(r.zero.shape)), on="")
    faulty, right = (
        next(check for check in checks("rounding", own) if check.name == "device")
        for own in (forgets, Rounds())
    )
    right()
    with pytest.raises(AssertionError, match="zero is on cpu, what the plugin was given on meta"):
        faulty()


def test_an_exception_is_a_sentence_that_names_the_case():
    def divides(*_):
        raise ZeroDivisionError("division\nby zero")

    (check,) = (each for each in checks("rounding", Rounds(divides, "one input"))
                if each.name == "values")  # fmt: skip
    expected = r"layer 'one input' \(6, 1\), .*: ZeroDivisionError: division by zero"
    with pytest.raises(AssertionError, match=expected):
        check()
