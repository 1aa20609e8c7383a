"""The tuners on a tiny W3A3 model: it gets better, stays quantized, and does so again."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_student import FAST, quantized_student

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.tuners.none import NoTuning
from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.baselines.tuners.qat import QAT
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.cache import Cache
from mpqbench.core.errors import BenchError, Diverged
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.cost.count import count
from mpqbench.cost.storage import packed_bytes
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.dit.held_out import evaluate
from mpqbench.quant.ranges import StepRanges
from mpqbench.tuning.checkpoint import Checkpoint

SHORT = FAST | {"steps": 6, "every": 3}
PATH = "transformer_blocks.1.attn1.to_out.0"
ALL = [PEFT(**SHORT, adapter="both"), QAT(**SHORT)]


def error(student, lessons):
    """Held-out mean squared error of the student as it is now."""
    given = evaluate(student.transformer, lessons.held_out.inputs, 64)
    return float((given - lessons.held_out.outputs).square().mean())


@pytest.mark.parametrize(
    ("tuner", "gain"),
    [
        (PEFT(**FAST, rate=1e-2, scale_rate=1e-2, adapter="both"), 1.8),
        (PEFT(**FAST, rate=1e-2, scale_rate=1e-2, adapter="none"), 1.5),
        (QAT(**FAST, rate=3e-3, scale_rate=3e-3), 1.5),
    ],
    ids=["peft", "peft without adapters", "qat"],
)
def test_the_held_out_error_falls(teacher, lessons, tuner, gain):
    student, quantized = quantized_student(teacher)
    with quantized:
        before = error(student, lessons)
        curve = tuner.tune(student, lessons)
        after = error(student, lessons)
    assert curve.rows[0][2] == pytest.approx(before, rel=1e-5)
    assert after == pytest.approx(min(row[2] for row in curve.rows), rel=1e-5)
    assert before / after > gain


def test_scales_alone_help(teacher, lessons):
    student, quantized = quantized_student(teacher)
    tuner = PEFT(**FAST, scale_rate=1e-2, adapter="none", zeros=False, biases=False)
    with quantized:
        assert tuner.tune(student, lessons).gain > 1.05


@pytest.mark.parametrize("tuner", ALL)
def test_the_student_ends_as_a_plain_quantized_model(teacher, lessons, tuner):
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    student, quantized = quantized_student(teacher)
    with quantized:
        tuner.tune(student, lessons)
        assert not any(p.requires_grad for p in teacher.parameters())
        for path, layer in student.layers.items():
            weight = student.rounded[path]
            assert torch.equal(layer.weight, weight.dequantize())
            assert int(weight.integers.min()) >= 0
            assert int(weight.integers.max()) < 2**weight.bits
    assert teacher.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())


def test_peft_leaves_integers_and_qat_leaves_zero_points(teacher, lessons):
    changed = {}
    for tuner in (PEFT(**SHORT, scale_rate=1e-2), QAT(**SHORT, rate=1e-2)):
        student, quantized = quantized_student(teacher)
        before = dict(student.rounded)
        with quantized:
            tuner.tune(student, lessons)
        changed[type(tuner)] = {
            part: any(
                not torch.equal(getattr(before[path], part), getattr(after, part))
                for path, after in student.rounded.items()
            )
            for part in ("integers", "scale", "zero")
        }
    assert changed[PEFT] == {"integers": False, "scale": True, "zero": True}
    assert changed[QAT] == {"integers": True, "scale": True, "zero": False}


@pytest.mark.parametrize("tuner", ALL)
def test_the_same_seed_gives_the_same_student_and_touches_no_global_generator(
    teacher, lessons, tuner
):
    weights = []
    for seed in (0, 0, 1):
        student, quantized = quantized_student(teacher)
        state = torch.random.get_rng_state()
        with quantized:
            tuner.tune(student, replace(lessons, seed=seed))
        assert torch.equal(torch.random.get_rng_state(), state)
        weights.append(student.layers[PATH].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("tuner", ALL)
def test_stopped_and_resumed_it_is_the_same_tuning(teacher, lessons, tuner, tmp_path):
    plain, quantized = quantized_student(teacher)
    with quantized:
        expected = tuner.tune(plain, lessons)
    stops, calls = [4, 3, None], []

    def interrupt(_module, _arguments, _named):
        calls.append(torch.is_grad_enabled())
        if stops[0] is not None and sum(calls) == stops[0]:
            raise KeyboardInterrupt

    for _ in range(3):
        student, quantized = quantized_student(teacher)
        with quantized:
            hook = teacher.register_forward_pre_hook(interrupt, with_kwargs=True)
            own = replace(lessons, checkpoint=Checkpoint(Cache(tmp_path), "training", every=0))
            try:
                curve = tuner.tune(student, own)
            except KeyboardInterrupt:
                stops.pop(0)
                calls.clear()
            finally:
                hook.remove()
    assert stops == [None]
    assert [repr(row[:-1]) for row in curve.rows] == [repr(row[:-1]) for row in expected.rows]
    for path, layer in plain.layers.items():
        assert torch.equal(student.layers[path].weight, layer.weight)


def test_checkpointed_blocks_give_the_same_and_leave_no_trace(teacher, lessons):
    curves = []
    for checkpointing in (False, True):
        student, quantized = quantized_student(teacher)
        with quantized:
            tuner = PEFT(**SHORT, checkpointing=checkpointing)
            curves.append([repr(row[:-1]) for row in tuner.tune(student, lessons).rows])
        assert not teacher.is_gradient_checkpointing
    assert curves[0] == curves[1]


def test_adapters_and_real_zero_points_are_counted(teacher, lessons):
    groups = layer_groups(teacher)
    student, quantized = quantized_student(teacher)
    with quantized:
        PEFT(**SHORT, adapter="lora", rank=2).tune(student, lessons)
    formats = {
        "weight_format": WeightFormat(symmetric=False),
        "activation_format": ActivationFormat(),
    }
    allocation = uniform_allocation(groups, Precision(3, 3), Precision(8, 8))
    bare = tiny_transformer()
    plain = count(bare, groups, allocation, **formats)
    tuned = count(
        bare, groups, allocation, storage=quantized.storage, extra=quantized.operators, **formats
    )
    searchable = [g for g in groups if g.searchable]
    ranks = {path: 2 * (16 + 16) for g in searchable for path in g.layers}
    ranks |= {path: 2 * (16 + 64) for path in ranks if ".ff." in path}
    zeros = sum(
        2 * layer.out_features - packed_bytes(layer.out_features, layer.precision.weight)
        for layer in student.layers.values()
    )
    assert tuned.bytes - plain.bytes == 2 * sum(ranks.values()) + zeros
    tokens = searchable[0].tokens
    assert tuned.bitops - plain.bitops == 16 * 16 * tokens * sum(ranks.values())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("inputs_symmetric", [True, False])
def test_real_zero_points_take_two_bytes_each_whatever_was_counted(
    teacher, symmetric, inputs_symmetric
):
    weights = WeightFormat(granularity="group", group=4, symmetric=symmetric)
    paths = [path for group in layer_groups(teacher) for path in group.layers]
    seen = StepRanges(torch.tensor([0]), torch.tensor([-1.0]), torch.tensor([2.0]))
    student, quantized = quantized_student(
        teacher,
        fmt=weights,
        activation_format=ActivationFormat(granularity="tensor", symmetric=inputs_symmetric),
        static_ranges=dict.fromkeys(paths, seen),
    )
    with quantized:
        (path, own), *_ = student.rounded.items()
        student.set_quantized_weight(path, replace(own, zero=own.zero + 0.5))
    grids = quantized.storage[path]
    assert grids.zero == 2 * own.zero.numel()
    assert grids.input_zero == (0 if inputs_symmetric else 1)


@pytest.mark.parametrize(
    ("adapter", "trained"), [("both", True), ("branch", True), ("lora", False), ("none", False)]
)
def test_which_branches_are_trained(teacher, lessons, adapter, trained):
    student, quantized = quantized_student(teacher, branch=LowRank(rank=2))
    before = student.branch(PATH).dense().detach().clone()
    operators = len(quantized.operators)
    with quantized:
        PEFT(**SHORT, rate=1e-2, adapter=adapter).tune(student, lessons)
    assert len(quantized.operators) == operators
    assert torch.equal(student.branch(PATH).dense(), before) != trained


@pytest.mark.parametrize(
    ("adapter", "added"), [("both", 12), ("lora", 12), ("branch", 0), ("none", 0)]
)
def test_layers_without_a_branch_get_an_adapter_where_one_is_asked_for(
    teacher, lessons, adapter, added
):
    student, quantized = quantized_student(teacher)
    with quantized:
        PEFT(**SHORT, adapter=adapter).tune(student, lessons)
        branches = [path for path in student.layers if student.branch(path) is not None]
    assert len(branches) == len(quantized.operators) == added
    assert not any("norm1" in path for path in branches)


def test_a_layer_gets_one_branch(teacher):
    student, quantized = quantized_student(teacher, branch=LowRank(rank=2))
    with quantized, pytest.raises(BenchError, match="has a branch already"):
        student.add_branch(PATH, student.branch(PATH))


def test_without_anything_to_train_it_says_so(teacher, lessons):
    student, quantized = quantized_student(teacher)
    tuner = PEFT(**SHORT, adapter="branch", scales=False, zeros=False, biases=False)
    with quantized, pytest.raises(BenchError, match="nothing to train"):
        tuner.tune(student, lessons)


def test_layers_with_full_weights_are_tuned_around(teacher, lessons):
    student, quantized = quantized_student(teacher, precision=(None, 3))
    with quantized:
        weight = student.layers[PATH].weight.clone()
        assert QAT(**FAST, rate=3e-3).tune(student, lessons).gain > 1
    assert torch.equal(student.layers[PATH].weight, weight)


def test_a_teacher_that_is_not_finite_diverges(teacher, lessons):
    broken = replace(lessons.train, outputs=lessons.train.outputs * math.inf)
    student, quantized = quantized_student(teacher)
    with quantized, pytest.raises(Diverged, match="not finite after 0 steps"):
        PEFT(**SHORT).tune(student, replace(lessons, train=broken))


def test_none_does_nothing(teacher, lessons):
    student, quantized = quantized_student(teacher)
    with quantized:
        weight = student.layers[PATH].weight
        curve = NoTuning().tune(student, lessons)
        assert student.layers[PATH].weight is weight
    assert (curve.rows, curve.stopped, curve.gain) == ([], "", 1.0)
    assert NoTuning().trajectories == 0


@pytest.mark.parametrize("tuner", [PEFT, QAT])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"patience": 0}, "patience must be a whole number of at least 1, not 0"),
        ({"steps": 10.5}, "steps must be a whole number of at least 1, not 10.5"),
        ({"trajectories": 1e3}, "trajectories must be a whole number of at least 1, not 1000.0"),
        ({"seconds": 0.0}, "seconds must be positive, not 0.0"),
        ({"clip": -1.0}, "clip must be positive, not -1.0"),
        ({"rate": 0.0}, "rate must be positive, not 0.0"),
        ({"scale_rate": math.nan}, "scale_rate must be positive, not nan"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0, not -1"),
        ({"weight_decay": -1}, "weight_decay must not be negative, but is -1"),
        ({"ema": 1.0}, "ema must be at least 0 and below 1, not 1.0"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"weighting": "min-snt"}, "unknown weighting 'min-snt'; did you mean 'min-snr'"),
    ],
)
def test_bad_parameters_are_one_sentence(tuner, bad, message):
    with pytest.raises(BenchError) as caught:
        tuner(**bad)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"adapter": "loar"}, "unknown adapter 'loar'; did you mean 'lora'"),
        ({"rank": 0}, "rank must be a whole number of at least 1, not 0"),
        ({"weight_decay": 0.1}, "weight_decay would pull zero points to 0: set zeros to false"),
        ({"scales": False}, "zero points are trained with their scales"),
        (
            {"adapter": "none", "scales": False, "zeros": False, "biases": False},
            "nothing to train: choose an adapter, scales or biases",
        ),
    ],
)
def test_bad_parameters_of_peft_are_one_sentence(bad, message):
    with pytest.raises(BenchError) as caught:
        PEFT(**bad)
    assert str(caught.value).startswith(message)
