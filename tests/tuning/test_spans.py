"""Errors of consecutive steps that are summed before they are squared."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_student import FAST, quantized_student

from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.tuning.distil import summed


def runs(rows, length):
    """The same rows as runs of ``length`` steps of one image."""
    count = len(rows)
    images, times = torch.arange(count) // length, count - torch.arange(count)
    return replace(rows, images=images, times=times)


def test_a_lasting_error_counts_span_times_and_a_changing_one_not_at_all():
    lasting = torch.ones(4, 1, 1, 1)
    changing = torch.tensor([1.0, -1, 1, -1]).view(4, 1, 1, 1)
    for span in (1, 2, 4):
        assert summed(lasting, span).tolist() == [span] * (4 // span)
    assert summed(changing, 1).tolist() == [1] * 4
    assert summed(changing, 2).tolist() == [0, 0]


def test_the_held_out_loss_follows_its_formula(teacher, data):
    held = runs(data.held_out, 4)
    student, quantized = quantized_student(teacher)
    with quantized:
        with torch.no_grad():
            given = teacher(held.latents, held.times, held.classes).sample
        settings = {**FAST, "steps": 1, "batch": 12, "span": 3, "weighting": "min-snr"}
        given_data = replace(data, train=runs(data.train, 4), held_out=held)
        curve = PEFT(**settings).tune(student, given_data)
    ratio = (data.train.signal / (1 - data.train.signal)).double().numpy()
    scale = np.minimum(1, 5 / ratio).mean()
    ratio = (held.signal / (1 - held.signal)).double().numpy()
    roots = np.sqrt(np.minimum(1, 5 / ratio) / scale)
    errors = (given - held.outputs).double().numpy() * roots[:, None, None, None]
    expected = np.mean([
        np.mean((errors[at] + errors[at + 1] + errors[at + 2]) ** 2) / 3
        for way in range(0, len(errors), 4) for at in (way, way + 1)
        if way + 4 <= len(errors)
    ])  # fmt: skip
    assert curve.rows[0][2] == pytest.approx(expected, rel=1e-4)


def test_what_is_summed_is_what_falls(teacher, data):
    """Trained for sums of four, the loss of sums ends lower than trained for single errors."""
    long = replace(data, train=runs(data.train, 4), held_out=runs(data.held_out, 4))
    ends = {}
    for span in (1, 4):
        student, quantized = quantized_student(teacher)
        with quantized:
            settings = FAST | {"steps": 60, "every": 60, "batch": 8}
            PEFT(**settings, span=span, rate=1e-2, scale_rate=1e-2).tune(student, long)
            with torch.no_grad():
                rows = long.train
                given = teacher(rows.latents, rows.times, rows.classes).sample
        ends[span] = float(summed(given - rows.outputs, 4).mean())
    assert ends[4] < ends[1]
