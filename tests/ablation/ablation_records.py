"""Records of an ablation without a model: two factors, known ratios, paired replicates."""

import numpy as np
from records_of import record_of

from mpqbench.core.recipe import Recipe
from mpqbench.core.registry import discover
from mpqbench.lab.ablation.design import parse_factors
from mpqbench.lab.ablation.plan import factorial

METHOD = Recipe(name="mine", searcher="tss", environment="eng")
RATIOS = {"tss": 1.0, "ilp": 1.5, "greedy": 3.0, "eng": 1.0, "clean": 2.0}


def small_plan(**options):
    texts = ("searcher=tss|ilp|greedy", "environment=eng|clean")
    return factorial(METHOD, parse_factors(texts, METHOD), discover(), **options)


def record(method, recipe, budget="W3A3", seed=0, *, fd=None, mse=None, status="done", steps=20,
           within=True):  # fmt: skip
    """``fd`` is a value with replicates around it."""
    scores = {}
    if status == "done" and fd is not None:
        value, replicates = fd
        scores["fd"] = {"value": value, "ci": 0.1, "replicates": list(replicates)}
        scores["sfd"] = {"value": 3 * value, "ci": 0.2}
        scores["is"] = {"value": 9 - value / 10, "ci": 0.1}
    if status == "done" and mse is not None:
        scores["output_mse"] = {"value": mse}
    return record_of(
        method, budget, seed=seed, status=status, reason=f"it is {status}", model="m",
        satisfied=within, scores=scores, job=f"m__{method}__{budget}__s{seed}",
        recipe=recipe.model_dump(mode="json"),
        protocol={"name": "quick", "calibration": 64, "sampler": "ddim", "steps": steps,
                  "guidance": 1.5, "reference": "embedded"},
    )  # fmt: skip


def records_of(plan, seeds=(0, 1), *, failing=(), with_fd=True, dear=()):
    """Cells whose FD is exactly the product of their levels' ratios times a factor of the seed.

    Replicates share their noise but for 1 %; jobs named in ``failing`` diverged, those in
    ``dear`` are over the budget.
    """
    rng = np.random.default_rng(0)
    found = [record("full-precision", Recipe(name="full-precision"), "FP", s) for s in seeds]
    for seed in seeds:
        shared = 0.2 * rng.normal(size=20)
        for recipe in {cell.recipe.name: cell.recipe for cell in plan.cells}.values():
            levels = recipe.name.split(".")[1:]
            value = (1 + seed) * float(np.prod([RATIOS[level] for level in levels]))
            around = value * np.exp(shared + 0.01 * rng.normal(size=20))
            found.append(
                record(
                    recipe.name, recipe, seed=seed, mse=1e-3 * value,
                    fd=(value, around) if with_fd else None,
                    status="diverged" if recipe.name in failing else "done",
                    within=recipe.name not in dear,
                )
            )  # fmt: skip
    return found
