"""Allocations around a budget that favour no objective."""

from __future__ import annotations

import numpy as np

from ..precision import Allocation
from ..search.feasible import Arrays, random_feasible
from ..search.knapsack import solve
from ..search.problem import Problem

SPREADS = (0.3, 2.0)  # of the logarithm of a group's sensitivity: from nearly uniform to extreme


def sample_allocations(problem: Problem, count: int, rng: np.random.Generator) -> list[Allocation]:
    """``count`` distinct allocations within the limits, the first half of them drawn at random.

    Random ones say how an objective ranks nonsense; a search compares better ones. So the others
    are what an integer program would choose under a made-up sensitivity: group g errs by
    ``s_g (4^-w + r_g 4^-a)``, where log s_g is the sum of a term of its kind, one of its block and
    one of its own, and their spread grows from draw to draw (our choice). No objective has a say,
    or its rank correlation would be measured on allocations of its own making.
    """
    arrays = Arrays.of(problem)
    found: dict[Allocation, None] = {}
    while len(found) < count // 2:
        found[random_feasible(problem, rng, arrays=arrays)] = None
    for spread in np.linspace(*SPREADS, count - len(found)):
        before = len(found)
        while len(found) == before:
            found[_of_made_up_sensitivity(arrays, spread, rng)] = None
    return list(found)


def _of_made_up_sensitivity(arrays: Arrays, spread: float, rng: np.random.Generator) -> Allocation:
    shared: dict[str, float] = {}
    scores = []
    for name, choices in zip(arrays.groups, arrays.choices, strict=True):
        block, _, kind = name.rpartition(".")
        block = ".".join(block.split(".")[:2])
        parts = [shared.setdefault(key, float(rng.normal())) for key in (block, kind)]
        level = np.exp(spread * (sum(parts) + rng.normal()) / np.sqrt(3))
        ratio = np.exp(0.5 * rng.normal())
        errors = [4.0**-p.weight_bits + ratio * 4.0**-p.activation_bits for p in choices]
        scores.append(level * np.array(errors))
    indices = solve(scores, arrays)
    assert indices is not None  # something fits: random_feasible found it
    return arrays.allocation(indices)
