"""Each promise of an objective and of an environment, broken by one that breaks it."""

from __future__ import annotations

import random

import pytest
import torch
from lying_plugins import broken

from mpqbench.core.precision import Precision


class Distance:
    """An honest objective."""

    def distance(self, outputs, targets):
        return (outputs.double() - targets.double()).square().flatten(2).mean(2)


class Nothing:
    """No objective at all."""


class OneScore(Distance):
    def distance(self, outputs, targets):
        return super().distance(outputs, targets).mean(1)


class Decibels(Distance):
    def distance(self, outputs, targets):
        return 10 * super().distance(outputs, targets).log10()


class Upside(Distance):
    def distance(self, outputs, targets):
        return -super().distance(outputs, targets)


class Ranked(Distance):
    """Scores a candidate by its place among all."""

    def distance(self, outputs, targets):
        return super().distance(outputs, targets).argsort(0).argsort(0).double()


class Pooled(Distance):
    """One variance for all inputs."""

    def distance(self, outputs, targets):
        return super().distance(outputs, targets) / targets.double().var()


class Writer(Distance):
    def distance(self, outputs, targets):
        return Distance.distance(self, outputs.sub_(targets), torch.zeros_like(targets))


class NoisyDistance(Distance):
    def distance(self, outputs, targets):
        return super().distance(outputs, targets) * (1 + 1e-9 * torch.rand(1))


class Table:
    """An honest table: the bits that are missing."""

    def table(self, network):
        return {g: [16.0 - p.weight for p in network.choices(g)] for g in network.groups}


class Forgetful(Table):
    def table(self, network):
        return dict(list(super().table(network).items())[1:])


class Short(Table):
    def table(self, network):
        return {group: own[1:] for group, own in super().table(network).items()}


class Infinite(Table):
    def table(self, network):
        found = super().table(network)
        return found | {network.groups[3]: [float("nan")] * 4}


class MoreIsBetter(Table):
    def table(self, network):
        return {group: [-s for s in own] for group, own in super().table(network).items()}


class OwnRandomTable(Table):
    def table(self, network):
        noise = random.SystemRandom().random()
        return {group: [s + noise for s in own] for group, own in super().table(network).items()}


class Pruner(Table):
    def table(self, network):
        network.group(network.groups[0])._cell.weight.mul_(0.9)
        return super().table(network)


class Trainer(Table):
    def table(self, network):
        network.group(network.groups[0])._cell.model.requires_grad_(True)
        return super().table(network)


@pytest.mark.parametrize(
    ("liar", "check", "sentence"),
    [
        (Nothing, "methods", "Nothing has neither a method table nor a method distance"),
        (OneScore, "distance", "scores (4,), not (4, 3)"),
        (Decibels, "least", "outputs equal to the targets score [[-inf"),
        (Upside, "least", "12 outputs with errors score better than without any"),
        (Upside, "direction", "by distance, W2A3 everywhere scores"),
        (Ranked, "independent", "scores candidate by candidate differ"),
        (Pooled, "independent", "scores input by input differ"),
        (Writer, "arguments", "it writes into outputs"),
        (NoisyDistance, "deterministic", "global generator of torch; it must make its own"),
        (Forgetful, "table", "the table has groups"),
        (Short, "table", "group blocks.0.attn.qkv: scores of shape (3,) for 4 choices"),
        (Infinite, "table", "group blocks.0.mlp.down at W2A3: score nan"),
        (MoreIsBetter, "direction", "by table, W2A3 everywhere scores"),
        (OwnRandomTable, "deterministic", "two calls differ"),
        (Pruner, "network", "it changes"),
        (Trainer, "network", "it leaves requires_grad set"),
    ],
)
def test_a_broken_promise_of_an_objective_is_named(liar, check, sentence):
    found = broken("objective", liar())
    assert sentence in found[check]


@pytest.mark.parametrize("plugin", [Distance(), Table()])
def test_honest_objectives_pass(plugin):
    assert broken("objective", plugin) == {}


class Quantized:
    """An honest environment."""

    def layer(self, group, base, inputs, seed):
        return group.at(Precision(4, 4) if base.is_full else base)


class Wrapped:
    """What a liar does to full precision."""

    def layer(self, group, base, inputs, seed):
        return lambda x: self.lie(group, group.full(x), x, inputs, seed)


class Transposed(Wrapped):
    def lie(self, group, y, x, inputs, seed):
        return y.mT


class Doubled(Wrapped):
    def lie(self, group, y, x, inputs, seed):
        return y.double()


class NotFinite(Wrapped):
    def lie(self, group, y, x, inputs, seed):
        return y / 0


class FreshNoise(Wrapped):
    """New noise for each candidate."""

    def lie(self, group, y, x, inputs, seed):
        generator = torch.Generator().manual_seed(seed)
        return y + 0.1 * torch.randn(y.shape, generator=generator)


class BatchNorm(Wrapped):
    """Statistics over all candidates."""

    def lie(self, group, y, x, inputs, seed):
        return y / x.std(unbiased=False)


class GlobalNoise(Wrapped):
    def lie(self, group, y, x, inputs, seed):
        return y + 0.1 * torch.randn(inputs, *y.shape[1:]).repeat(len(y) // inputs, 1, 1)


class InPlace(Wrapped):
    def lie(self, group, y, x, inputs, seed):
        x.mul_(0.5)
        return y


class Changer:
    def layer(self, group, base, inputs, seed):
        group.weight.mul_(0.99)
        return group.full


class Needy:
    """Knows no other way than a precision, and says so badly."""

    def layer(self, group, base, inputs, seed):
        return group.at(Precision(base.weight + 1, 8))


@pytest.mark.parametrize(
    ("liar", "check", "sentence"),
    [
        (Transposed, "output", "blocks.0.attn.qkv around W3A3: output float32 (3, 48, 16), not"),
        (Doubled, "output", "output float64"),
        (NotFinite, "output", "the output is not finite"),
        (FreshNoise, "candidates", "beside itself, candidate 2 of 2 gets an output"),
        (BatchNorm, "candidates", "beside another one, candidate 1 of 3 gets an output"),
        (BatchNorm, "engine", "off from its score among"),
        (GlobalNoise, "deterministic", "global generator of torch; it must make its own from seed"),
        (InPlace, "arguments", "it writes into x"),
        (Changer, "network", "it changes the weight of blocks.0.attn.qkv"),
        (Needy, "unnamed", "TypeError"),
    ],
)
def test_a_broken_promise_of_an_environment_is_named(liar, check, sentence):
    found = broken("environment", liar())
    assert sentence in found[check]


def test_an_honest_environment_passes():
    assert broken("environment", Quantized()) == {}
