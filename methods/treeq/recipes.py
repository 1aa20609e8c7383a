"""TreeQ's parts as recipes: what of it there is, and under what name."""

from __future__ import annotations

from typing import Any

from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.recipe import PluginChoice, Recipe

TREEQ_SEARCH = Recipe(
    name="treeq-search",
    summary="tree-structured search in a network whose other layers are quantized",
    source="TreeQ, arXiv 2512.06353, its abstract and figures: TSS and ENG",
    keeps="joint scores of merged neighbours, 16 of 16 x 16 kept, an environment of full noise",
    leaves_out="the Monarch branch; which 16 are kept, and all else left open, is our choice",
    searcher=PluginChoice(name="tss"),
    environment=PluginChoice(name="eng", params={"noise": 1.0}),
)

# Rates: the lowest held-out loss in the suite `treeq-rates`, at both of its budgets.
TRAINING = {"batch": 40, "span": 10, "weighting": "balanced", "rate": 0.0003, "scale_rate": 0.001}
# What `mpqbench ablate treeq` varies. A tuner of 300 steps tells what training is worth early on.
FACTORS: dict[str, dict[str, dict[str, Any]]] = {
    "search": {"tss": {}, "ilp": {"searcher": "ilp"}, "uniform": {"searcher": "uniform"}},
    "environment": {"eng": {}, "clean": {"environment": "clean"}},
    "branch": {
        "monarch": {},
        "low-rank": {"branch": {"name": "low-rank", "rank": 2, "bits": 8}},
        "none": {"branch": "none"},
    },
    "tuner": {
        "ptq": {},
        "peft": {"tuner": {"name": "peft", "trajectories": 300, "steps": 300, **TRAINING}},
    },
}

TREEQ = Recipe(
    name="treeq",
    summary="tree-structured search, environmental noise and a Monarch branch, post-training",
    source="TreeQ, arXiv 2512.06353, its abstract and figures: TSS, ENG and GMB",
    keeps="all three; the search decides which groups have a branch, which the budget pays for",
    leaves_out="full noise in the search (a quarter); formats, rounding and correction are ours",
    transform=PluginChoice(name="awq"),
    rounding=PluginChoice(name="gptq"),
    branch=PluginChoice(name="monarch", params={"like_rank": 2, "bits": 8}),
    searcher=PluginChoice(name="tss"),
    environment=PluginChoice(name="eng", params={"noise": 0.25}),
    correction=PluginChoice(name="unbiased"),
    evaluations=1000,
    choices=("neighbours", "neighbours-"),
    weight_format=WeightFormat(granularity="group", group=32, symmetric=False),
    activation_format=ActivationFormat(granularity="token-group", group=32),
    factors=FACTORS,
)

TREEQ_PEFT = TREEQ.model_copy(
    update={
        "name": "treeq-peft",
        "summary": "the same with its branches and scales trained",
        "leaves_out": "how the paper trains, not told there: as treeq, and our tuner `peft`",
        "tuner": PluginChoice(name="peft", params={"trajectories": 500, "steps": 1000, **TRAINING}),
        "factors": {},
    }
)
