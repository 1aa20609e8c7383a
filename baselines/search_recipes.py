"""Search methods: recipes by name.

All but one take the choices that every search has: all pairs of the weight and activation bits of
``mpqbench.search.budget_costs``. All round to nearest on the formats that the other methods have,
so that two of them differ by their search alone. A searcher without a paper behind it needs no
recipe: ``{base: rtn, name: mine, searcher: ilp}`` is one.
"""

from __future__ import annotations

from mpqbench.core.recipe import PluginChoice, Recipe

_PARTS = {"content": ["attn.qkv", "attn.out"], "quality": ["mlp.up", "mlp.down"]}

HAWQ = Recipe(
    name="hawq",
    summary="integer program on weight errors weighted by the trace of the Hessian",
    source="HAWQ-V2, arXiv 1911.03852, and the integer program of HAWQ-V3, arXiv 2011.10680",
    keeps="average trace times squared weight error; one bit width for a layer's two operands",
    leaves_out="the Hessian of a task loss (Gauss-Newton of the output error), integer-only scales",
    searcher=PluginChoice(name="ilp"),
    objective=PluginChoice(name="hessian"),
    # Its score does not see activation bits, which would all be the fewest if they were free.
    choices=("W2A3", "W3A3", "W4A4", "W5A5", "W6A6", "W8A8"),
)

AUTOQUANTIZE = Recipe(
    name="autoquantize",
    summary="integer program on output errors weighted by squared gradients",
    source="AutoQuantize of NVIDIA's ModelOpt, its gradient score",
    keeps="squared gradient times squared output error of every layer, an additive program",
    leaves_out="gradients of a task loss (random projections of the output), its looser fallbacks",
    searcher=PluginChoice(name="ilp"),
    objective=PluginChoice(name="fisher"),
)

# Noise powers of layers add up at the output. Decibels do not: a bit is worth 6 dB in every layer,
# so that their sum hardly tells layers apart.
SQNR = Recipe(
    name="sqnr",
    summary="integer program on the noise-to-signal ratio of every layer's output",
    source="the textbook proxy; the program is that of MixDQ's code (arXiv 2405.17873)",
    keeps="one layer quantized at a time, an exact multi-choice knapsack",
    leaves_out="decibels: their sum gives a bit the same worth in every layer",
    searcher=PluginChoice(name="ilp"),
    objective=PluginChoice(name="layer-mse", params={"scale": "relative"}),
)

MIXDQ = Recipe(
    name="mixdq",
    summary="attention and MLP ranked by metrics of their own, shares of the budget swept",
    source="MixDQ, arXiv 2405.17873, metric-decoupled search, and its code",
    keeps="a program for each part, a sweep of the budget's shares, SQNR, the lowest output error",
    leaves_out="structural similarity as the other metric (fisher), weights first, kept outliers",
    searcher=PluginChoice(name="ilp", params={"split": _PARTS}),
    objective=PluginChoice(name="decoupled", params={"content": _PARTS["content"]}),
)

CLADO = Recipe(
    name="clado",
    summary="interactions of all pairs of layers, projected, and an integer quadratic program",
    source="CLADO, arXiv 2307.05657",
    keeps="the matrix from joint scores of pairs, its projection, three precisions",
    leaves_out="Gurobi: the program is solved by local search from many starts; a task loss",
    searcher=PluginChoice(name="clado"),
    # Pairs are scored for all choices of both: 31 of them would take a million forwards.
    choices=("W2A3", "W4A4", "W8A8"),
)

Q_DIT_SEARCH = Recipe(
    name="q-dit-search",
    summary="evolution of a group size for each layer, shared by its weights and activations",
    source="Q-DiT, arXiv 2406.17343, and the settings of its code",
    keeps="50 allocations, 10 generations, 25 crossovers and 25 mutations; nearest, as it searches",
    leaves_out="FID as fitness (output error), GPTQ, group sizes that the widths do not divide by",
    searcher=PluginChoice(name="evolutionary"),
    choices=("W4A8g128", "W4A8g64", "W4A8g32"),
)
