"""Each family of checks catches a fault that is planted in a built-in plugin."""

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.corrections.unbiased import Unbiased
from mpqbench.baselines.environments.clean import Clean
from mpqbench.baselines.objectives.layer_mse import LayerError
from mpqbench.baselines.objectives.output_mse import OutputMSE
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.searchers.random_search import RandomSearch
from mpqbench.baselines.transforms.smooth import Smooth
from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.conformance import checks
from mpqbench.contracts import BranchSize, Correction, Objective, Operations
from mpqbench.core.errors import Diverged, Infeasible
from mpqbench.core.formats import WeightFormat
from mpqbench.core.precision import Allocation
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.trainable import low_rank_adapter
from mpqbench.tuning.loop import TrainingCurve

LAYER, OUT = "transformer_blocks.1.attn1.to_k", "transformer_blocks.1.ff.net.2"


def faulty(own, **methods):
    """Plugin ``own`` with other methods, each called with the right method before its arguments."""

    def method(name, wrong):
        right = getattr(type(own), name)
        return lambda self, *given: wrong(partial(right, self), *given)

    cls = type("Faulty", (type(own),), {name: method(name, own) for name, own in methods.items()})
    return cls(**{field.name: getattr(own, field.name) for field in fields(own)})


def changed(own, change):
    """Plugin ``own`` whose fitted object ``change`` is called with, and may change."""

    def fit(right, *given):
        fitted = right(*given)
        change(fitted)
        return fitted

    return faulty(own, fit=fit)


def rounds(change, on="ordinary"):
    """A rounding whose results on layers whose name starts with ``on`` are changed."""

    def rounded(right, weight, layer, *given):
        result = right(weight, layer, *given)
        return change(result, weight, *given) if layer.name.startswith(on) else result

    return faulty(Nearest(), round=rounded)


def more_bits(result, weight, fmt, bits):
    return replace(quantize_weight(weight, fmt, min(8, bits + 1), ""), bits=bits)


def finer(result, weight, fmt, bits):
    pairs = WeightFormat(granularity="group", group=2, symmetric=fmt.symmetric)
    return quantize_weight(weight, pairs, bits, "")


ROUNDINGS = [
    (rounds(finer), "shapes", "numbers, the format"),
    (rounds(more_bits), "bits", "bits hold"),
    (rounds(lambda r, *_: replace(r, scale=r.scale * np.nan), "constant"), "values", "not finite"),
    (rounds(lambda r, weight, *_: [r, weight.zero_()][0]), "repeatable", "weight is written into"),
    (rounds(lambda r, *_: replace(r, integers=r.integers // 2)), "error", "times nearest"),
    (rounds(finer, on="transformer_blocks"), "model", "numbers, the format"),
]


def scales(**attributes):
    """Smoothing whose fitted object has other attributes, each a function of this object."""

    def change(fitted):
        for name, value in attributes.items():
            setattr(fitted, name, value(fitted))

    return changed(Smooth(), change)


NOTHING = Operations()


def sized(**changes):
    """Smoothing that declares another size."""
    return faulty(Smooth(), size=lambda right, *layer: replace(right(*layer), **changes))


def by_input_bits(right, weight, layer):
    return Smooth(alpha=0.25 if layer.precision.activation == 3 else 0.5).fit(weight, layer)


def of_weights(own):
    """Plugin ``own``, which says that it does not look at the bits of the input."""
    type(own).needs_activation_bits = False
    return own


TRANSFORMS = [
    (of_weights(faulty(Smooth(), fit=by_input_bits)), "activation_bits", "must be true"),
    (scales(input=lambda f: lambda x: x / f.scale + 0.1), "output", "differs from x @ W.T by"),
    (scales(input=lambda f: lambda x: x.detach() / f.scale), "gradient", "has no gradient"),
    (sized(smoothing=NOTHING), "cost", "0 additions are declared for a row, and 36 and 0 are"),
    # A multiplication that is said to be an addition, at a sixteenth of the price.
    (sized(smoothing=Operations(additions=36)), "cost", "0 multiplications and 36 additions are"),
    # Work that is hidden behind a scaling that is declared.
    (scales(input=lambda f: lambda x: x / (f.scale * 0.5) / 2.0), "cost", "36 multiplications"),
    (sized(extra_bits=288), "cost", "but the transform holds 576 bits"),
]


def branch(change):
    return changed(LowRank(rank=2), change)


def cheap(size):
    return replace(size, multiplications=1)


def shifts(fitted):
    forward = fitted.forward
    fitted.forward = lambda x: forward(x) + 1


BRANCHES = [
    (branch(lambda f: setattr(f, "size", replace(f.size, numbers=1))), "size", "where size gave"),
    (branch(lambda f: next(f.parameters()).data.mul_(np.inf)), "size", "not finite"),
    (branch(shifts), "output", "the output differs from x @ dense().T"),
    (branch(lambda f: next(f.parameters()).data.neg_()), "fit", "the branch leaves an error of"),
    (faulty(branch(lambda f: setattr(f, "size", cheap(f.size))),
            size=lambda right, *shape: cheap(right(*shape))),
     "cost", "1 multiplications and 0 additions are declared for a row, and "),
]  # fmt: skip


def searcher(search):
    return faulty(RandomSearch(draws=20), search=search)


def first_measure_only(right, problem):
    found = dict(right(problem))
    for group in problem.groups:
        for choice in problem.choices(group):
            dearer = found | {group: choice}
            if problem.cost(dearer) <= problem.limit():
                found = dearer
    return Allocation(found)


def optimist(right, problem):
    try:
        return right(problem)
    except Infeasible:
        return Allocation({group: problem.choices(group)[0] for group in problem.groups})


def extends(right, problem):
    problem.allowance = float("inf")
    return right(problem)


def global_dice(right, problem):
    problem.rng = np.random.default_rng(np.random.randint(1000))
    return right(problem)


SEARCHERS = [
    (searcher(lambda right, p: Allocation(list(right(p).items())[1:])), "budget", "lacks"),
    (searcher(first_measure_only), "budget", "weight bits"),
    (searcher(extends), "allowance", "the search spends 20 forwards"),
    (searcher(optimist), "infeasible", "search must raise Infeasible, not give"),
    (searcher(global_dice), "repeatable", "numbers must come from problem.rng"),
]


def table(change):
    return faulty(LayerError(), table=lambda right, network: change(right(network), network))


def distance(change):
    return faulty(OutputMSE(), distance=lambda right, o, t: change(right(o.clone(), t), o, t))


def prunes(found, network):
    network.group(network.groups[0])._group.weight.mul_(0.9)
    return found


OBJECTIVES = [
    (type("Nothing", (Objective,), {})(), "direction", "neither a method table nor a method"),
    (table(lambda found, _: dict(list(found.items())[1:])), "table", "the table has groups"),
    (table(lambda found, _: {g: [-s for s in row] for g, row in found.items()}), "direction",
     "lower must be better"),
    (table(prunes), "repeatable", "is changed"),
    (distance(lambda s, o, t: s.mean(1)), "distance", "not torch.float64 (4, 3)"),
    (distance(lambda s, o, t: s / t.double().var()), "independent", "scores one by one differ"),
]  # fmt: skip


def environment(change):
    """Full precision with its output changed: ``change(output, inputs, seed)``."""

    def layer(right, group, base, inputs, seed):
        return lambda x: change(right(group, base, inputs, seed)(x), inputs, seed)

    return faulty(Clean(), layer=layer)


def fresh_noise(y, inputs, seed):
    return y + torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))


def global_noise(y, inputs, seed):
    return y + torch.randn(inputs, *y.shape[1:]).repeat(len(y) // inputs, 1, 1)


ENVIRONMENTS = [
    (environment(lambda y, *_: y.double()), "output", "torch.float64"),
    (environment(fresh_noise), "candidates", "among 2 candidates the output of one is changed"),
    (environment(global_noise), "repeatable", "a global generator of torch"),
]


def tuner(tune):
    short = PEFT(adapter="none", steps=4, every=2, rate=1e-2, scale_rate=1e-2)
    return faulty(short, tune=tune)


def after(change):
    """A tuner that changes the student after a right tuning."""

    def tune(right, student, data):
        curve = right(student, data)
        change(student)
        return curve

    return tuner(tune)


def understates(student):
    added = low_rank_adapter(student.layers[LAYER], 2, 0)
    added.size = BranchSize(added.size.numbers - 1, added.size.multiplications)
    student.add_branch(LAYER, added)


def hides_divergence(right, student, data):
    try:
        return right(student, data)
    except Diverged:
        return TrainingCurve()


TUNERS = [
    (tuner(lambda right, *given: TrainingCurve(right(*given).rows[1:], "steps")), "error",
     "begins"),
    (after(lambda s: s.layers[OUT].bias.add_(1.0)), "error", "the held-out error ends at"),
    (after(lambda s: s.layers[LAYER].weight.add_(1e-3)), "grids", "is off its grid"),
    (after(understates), "cost", "numbers, not"),
    (after(lambda s: s.layers[LAYER].register_forward_hook(lambda *_: None)), "model", "a hook"),
    (tuner(hides_divergence), "diverged", "must raise Diverged, not give"),
]  # fmt: skip


def correction(change=lambda noise: noise, **costs):
    """A correction with a ``change`` of the corrected noise and another size."""

    def fit(right, step):
        fitted = right(step)

        def corrected(prediction, latents):
            return change(fitted(prediction, latents))

        return corrected

    return faulty(Unbiased(images=8), fit=fit, size=lambda right, s: replace(right(s), **costs))


CORRECTIONS = [
    (type("Half", (Correction,), {"images": 2.5, "fit": None})(), "images", "2.5 is no number of"),
    (correction(lambda noise: noise[:, :3]), "noise", "not torch.float32 (24, 4, 6, 6)"),
    (correction(lambda noise: noise + 0.01), "unchanged", "the noise changes by 0.01"),
    (correction(lambda noise: noise - noise.mean(0)), "single", "image 3 by itself differs"),
    (correction(numbers=-1), "cost", "numbers is -1"),
    (correction(operations=NOTHING), "cost", "0 multiplications and 0 additions are declared"),
]

FAULTS = [
    *ROUNDINGS, *TRANSFORMS, *BRANCHES, *SEARCHERS, *OBJECTIVES, *ENVIRONMENTS, *TUNERS,
    *CORRECTIONS,
]  # fmt: skip


@pytest.mark.parametrize(
    ("own", "check", "sentence"),
    [pytest.param(*fault, id=f"{fault[0].kind}-{fault[1]}") for fault in FAULTS],
)
def test_a_planted_fault_is_caught(own, check, sentence):
    (run,) = (each for each in checks(own.kind, own, quick=True) if each.name == check)
    with pytest.raises(AssertionError) as caught:
        run()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_exception_is_a_sentence_that_names_the_case():
    def divides(*_):
        raise ZeroDivisionError("division\nby zero")

    found = checks("rounding", rounds(divides, on="one input"))
    expected = r"layer 'one input' \(6, 1\), .*: ZeroDivisionError: division by zero"
    with pytest.raises(AssertionError, match=expected):
        next(check for check in found if check.name == "values")()
