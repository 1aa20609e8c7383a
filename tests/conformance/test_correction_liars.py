"""Corrections that break a promise each, and the check that says so."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from lying_plugins import broken

from mpqbench.conformance import checks


class Shift:
    """An honest fitted correction: the mean error at each place is taken away."""

    macs_per_value = 1

    def __init__(self, offset):
        self.offset, self.numbers = offset, offset.numel()

    def __call__(self, prediction, latents):
        return prediction.noise - self.offset


@dataclass(frozen=True)
class Honest:
    images: int = 8

    def fit(self, step):
        return self.shift((step.quantized.noise - step.full.noise).mean(0))

    def shift(self, offset):
        return Shift(offset)


class Uncounted(Honest):
    images = 2.5


class Narrow(Honest):
    def shift(self, offset):
        fitted = Shift(offset)
        return _Called(fitted, lambda noise: noise[:, :3])


class Double(Honest):
    def shift(self, offset):
        return _Called(Shift(offset), lambda noise: noise.double())


class Endless(Honest):
    def shift(self, offset):
        return Shift(offset + float("inf"))


class Meddling(Honest):
    def shift(self, offset):
        return Shift(offset + 0.01)


class Social(Honest):
    def shift(self, offset):
        return _Called(Shift(offset), lambda noise: noise - noise.mean(0))


class Boastful(Honest):
    def shift(self, offset):
        fitted = Shift(offset)
        fitted.numbers = -1
        return fitted


class Random(Honest):
    def shift(self, offset):
        return Shift(offset + 1e-6 * torch.randn(offset.shape))


class Vandal(Honest):
    def fit(self, step):
        fitted = super().fit(step)
        step.quantized.noise.add_(1)
        return fitted


class Clumsy(Honest):
    def fit(self, step):
        raise RuntimeError("oh no")


class _Called:
    """``fitted`` with something done to what it gives."""

    macs_per_value = 1

    def __init__(self, fitted, change):
        self.fitted, self.change, self.numbers = fitted, change, fitted.numbers

    def __call__(self, prediction, latents):
        return self.change(self.fitted(prediction, latents))


def test_an_honest_one_passes():
    assert broken("correction", Honest()) == {}
    assert len(checks("correction", Honest())) == 6


@pytest.mark.parametrize(
    ("liar", "check", "sentence"),
    [
        (Uncounted(2.5), "images", "images is 2.5, no number of images"),
        (Narrow(), "noise", "it gives torch.float32 (24, 3, 6, 6), not the latents'"),
        (Double(), "noise", "it gives torch.float64"),
        (Endless(), "noise", "its noise is not finite"),
        (Meddling(), "nothing", "without an error it changes the noise by 0.01"),
        (Social(), "single", "image 3 by itself differs by"),
        (Boastful(), "cost", "numbers is -1"),
        (Random(), "same", "the global generator of torch; it must draw nothing at random"),
        (Vandal(), "same", "it writes into step.quantized.noise"),
        (Clumsy(), "noise", "fit raised RuntimeError: oh no"),
    ],
)
def test_a_broken_promise_is_named(liar, check, sentence):
    found = broken("correction", liar, only=[check])
    assert sentence in found[check]
