"""The tuners on a tiny W3A3 model: it gets better, stays quantized, and does so again."""

from dataclasses import replace

import pytest
import torch
from tiny_student import FAST, quantized_student

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.baselines.tuners.qat import QAT
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.cost.count import CountOptions, count
from mpqbench.cost.storage import packed_bytes
from mpqbench.dit.calibration import evaluate
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.quant.activation import StepRanges

SHORT = FAST | {"steps": 6, "every": 3}
PATH = "transformer_blocks.1.attn1.to_out.0"


def error(student, data):
    """Held-out mean squared error of the student as it is now."""
    given = evaluate(student.transformer, data.held_out.inputs, 64)
    return float((given - data.held_out.outputs).square().mean())


@pytest.mark.parametrize(
    ("tuner", "gain"),
    [
        (PEFT(**FAST, rate=1e-2, scale_rate=1e-2, adapter="both"), 1.8),
        (PEFT(**FAST, scale_rate=1e-2, adapter="none", zeros=False, biases=False), 1.05),
        (QAT(**FAST, rate=3e-3, scale_rate=3e-3), 1.5),
    ],
    ids=["peft", "scales alone", "qat"],
)
def test_the_held_out_error_falls(teacher, data, tuner, gain):
    student, quantized = quantized_student(teacher)
    with quantized:
        before = error(student, data)
        curve = tuner.tune(student, data)
        after = error(student, data)
    assert curve.rows[0][2] == pytest.approx(before, rel=1e-5)
    assert after == pytest.approx(min(row[2] for row in curve.rows), rel=1e-5)
    assert before / after > gain


def test_peft_leaves_integers_and_qat_leaves_zero_points(teacher, data):
    changed = {}
    for tuner in (PEFT(**SHORT, scale_rate=1e-2), QAT(**SHORT, rate=1e-2)):
        student, quantized = quantized_student(teacher)
        before = dict(student.rounded)
        with quantized:
            tuner.tune(student, data)
        changed[type(tuner)] = {
            part: any(
                not torch.equal(getattr(before[path], part), getattr(after, part))
                for path, after in student.rounded.items()
            )
            for part in ("integers", "scale", "zero")
        }
    assert changed[PEFT] == {"integers": False, "scale": True, "zero": True}
    assert changed[QAT] == {"integers": True, "scale": True, "zero": False}


def test_checkpointed_blocks_give_the_same_and_leave_no_trace(teacher, data):
    curves = []
    for checkpointing in (False, True):
        student, quantized = quantized_student(teacher)
        with quantized:
            tuner = PEFT(**SHORT, checkpointing=checkpointing)
            curves.append([repr(row[:-1]) for row in tuner.tune(student, data).rows])
        assert not teacher.is_gradient_checkpointing
    assert curves[0] == curves[1]


def test_adapters_and_real_zero_points_are_counted(teacher, data):
    groups = layer_groups(teacher)
    student, quantized = quantized_student(teacher)
    with quantized:
        PEFT(**SHORT, adapter="lora", rank=2).tune(student, data)
    options = CountOptions(WeightFormat(symmetric=False), ActivationFormat())
    allocation = uniform_allocation(groups, Precision(3, 3), Precision(8, 8))
    bare = tiny_transformer()
    plain = count(bare, groups, allocation, options)
    options = replace(options, storage=quantized.storage, extra=quantized.operators)
    tuned = count(bare, groups, allocation, options)
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


@pytest.mark.parametrize(("symmetric", "inputs_symmetric"), [(True, False), (False, True)])
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
    stored = quantized.storage[path]
    assert stored.zero == 2 * own.zero.numel()
    assert stored.input_zero == (0 if inputs_symmetric else 1)


@pytest.mark.parametrize(
    ("adapter", "trained", "added"),
    [("both", True, 12), ("branch", True, 0), ("lora", False, 12), ("none", False, 0)],
)
def test_which_branches_are_trained_and_added(teacher, data, adapter, trained, added):
    student, quantized = quantized_student(teacher, branch=LowRank(rank=2))
    before, operators = student.branch(PATH).dense().detach().clone(), len(quantized.operators)
    short = SHORT | {"steps": 2, "every": 1}
    with quantized:
        PEFT(**short, rate=1e-2, adapter=adapter).tune(student, data)
    assert len(quantized.operators) == operators
    assert torch.equal(student.branch(PATH).dense(), before) != trained
    student, quantized = quantized_student(teacher)
    with quantized:
        PEFT(**short, adapter=adapter).tune(student, data)
        branches = [path for path in student.layers if student.branch(path) is not None]
    assert len(branches) == len(quantized.operators) == added
    assert not any("norm1" in path for path in branches)


def test_without_anything_to_train_it_says_so(teacher, data):
    student, quantized = quantized_student(teacher)
    tuner = PEFT(**SHORT, adapter="branch", scales=False, zeros=False, biases=False)
    with quantized, pytest.raises(BenchError, match="nothing to train"):
        tuner.tune(student, data)


def test_layers_with_full_weights_are_tuned_around(teacher, data):
    student, quantized = quantized_student(teacher, precision=(None, 3))
    with quantized:
        weight = student.layers[PATH].weight.clone()
        assert QAT(**FAST, rate=3e-3).tune(student, data).gain > 1
    assert torch.equal(student.layers[PATH].weight, weight)
