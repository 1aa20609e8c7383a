"""Branches that break their promises are caught, each by the check that is meant to catch it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.conformance import checks
from mpqbench.contracts import Branch


class Honest(Branch):
    """Rank 2; every fault below changes one thing."""

    def size(self, out_features, in_features):
        return LowRank(rank=2).size(out_features, in_features)

    def fit(self, target, layer):
        return LowRank(rank=2).fit(target, layer)


class Larger(Honest):
    def fit(self, target, layer):
        return LowRank(rank=3).fit(target, layer)


class Cheaper(Honest):
    def size(self, out_features, in_features):
        return replace(super().size(out_features, in_features), macs_per_token=1)

    def fit(self, target, layer):
        fitted = super().fit(target, layer)
        fitted.size = self.size(*target.shape)
        return fitted


class Smaller(Cheaper):
    def size(self, out_features, in_features):
        return replace(Honest.size(self, out_features, in_features), numbers=1)


class Biased(Honest):
    def fit(self, target, layer):
        fitted = super().fit(target, layer)
        inner = fitted.forward
        fitted.forward = lambda x: inner(x) + 1
        return fitted


class Useless(Honest):
    def fit(self, target, layer):
        return super().fit(-target, layer)


class Random(Honest):
    def fit(self, target, layer):
        return super().fit(target + 1e-3 * torch.randn(target.shape), layer)


class Writing(Honest):
    def fit(self, target, layer):
        return super().fit(target.mul_(2), layer)


class Constant(Honest):
    def fit(self, target, layer):
        return super().fit(target + 1, layer)


class Detached(Honest):
    def fit(self, target, layer):
        fitted = super().fit(target, layer)
        inner = fitted.forward
        fitted.forward = lambda x: inner(x.detach())
        return fitted


class Worse(Honest):
    def refit(self, before, target, layer):
        return self.fit(target / 2, layer)


@pytest.mark.parametrize(
    ("liar", "name", "sentence"),
    [
        (Larger, "sizes", "where size said BranchSize"),
        (Cheaper, "macs", "macs_per_token is 1, but it executes"),
        (Smaller, "storage", "and says 1 and 0"),
        (Biased, "output", r"differs from x @ dense\(\).T"),
        (Useless, "nearer", "what the branch leaves has error"),
        (Random, "deterministic", "draws from or seeds the global generator"),
        (Writing, "arguments", "it writes into target"),
        (Constant, "zero", "the branch of zero is not zero"),
        (Detached, "gradient", "has no gradient"),
        (Worse, "refit", "of the same target"),
        (Larger, "model", "its branch takes BranchSize"),
    ],
)
def test_a_liar_is_caught(liar, name, sentence):
    (check,) = [one for one in checks("branch", liar(), quick=True) if one.name == name]
    with pytest.raises(AssertionError, match=sentence):
        check()


def test_the_honest_one_passes():
    for check in checks("branch", Honest(), quick=True):
        check()
