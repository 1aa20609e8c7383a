"""Synthetic search problems of any size, which need no model."""

from itertools import pairwise

import numpy as np

from mpqbench.search.tabular import TabularScorer, tabular_problem

_KINDS = ("attn.qkv", "attn.out", "mlp.up", "mlp.down")


def random_problem(groups, choices, budget, *, seed, coupling=0.0):
    """Return a synthetic chain whose error halves per bit of weights and of activations.

    Group k has a random sensitivity s_k and scores ``s_k (4^-w + r_k 4^-a)``. Neighbours interact
    by ``coupling`` times the geometric mean of their scores (our choice: errors of one sign add
    up). ``seed`` also seeds the problem's own generator.
    """
    rng = np.random.default_rng(seed)
    names = [f"blocks.{index // 4}.{_KINDS[index % 4]}" for index in range(groups)]
    own = sorted(choices, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits))
    additive = {}
    for name in names:
        sensitivity, ratio = rng.lognormal(0, 1.5), rng.lognormal(0, 0.7)
        errors = [4.0**-p.weight_bits + ratio * 4.0**-p.activation_bits for p in own]
        additive[name] = sensitivity * np.array(errors)
    interactions = {
        (a, b): coupling * np.sqrt(np.outer(additive[a], additive[b])) for a, b in pairwise(names)
    }
    macs = {name: float(rng.integers(1, 9)) for name in names}
    each = dict.fromkeys(names, own)
    scorer = TabularScorer(each, additive, interactions if coupling else {})
    problem = tabular_problem(macs, own, scorer, budget)
    problem.rng = np.random.default_rng(seed)
    return problem
