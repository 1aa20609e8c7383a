"""Baseline methods: recipes by name.

Weights are symmetric per output channel and activations asymmetric per token in all of them,
unless another format is what the paper is about: then two methods differ by their idea, not by
their format. Every layer is fitted on what the full-precision model gives it; none of them is
calibrated on the output of the quantized layers before it.
"""

from __future__ import annotations

from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.recipe import PluginChoice, Recipe

# These 200 iterations reach the error of 300 at the plugin's defaults in a third of the time.
BLOCKWISE = PluginChoice(
    name="adaround", params={"unit": "block", "iterations": 200, "rate": 0.05, "batch": 16}
)

RTN = Recipe(
    name="rtn",
    summary="round to nearest on the min-max grid, the same precision everywhere",
    source="the textbook baseline of every quantization paper",
    keeps="min-max ranges, a scale per output channel and per token",
    leaves_out="every attempt to lower the error",
)

MSE_CLIP = Recipe(
    name="mse-clip",
    summary="round to nearest on the weight range of least squared error",
    source="shrink search as in Q-DiT's code (arXiv 2406.17343), with exponent 2",
    keeps="a search over shrunk ranges for every output channel",
    leaves_out="its exponent of 2.4 and its clipping of activations",
    rounding=PluginChoice(name="mse-clip"),
)

SMOOTHQUANT = Recipe(
    name="smoothquant",
    summary="outlier channels of the input are scaled into the weight, alpha 0.5",
    source="SmoothQuant, arXiv 2211.10438, section 4",
    keeps="the closed form over all calibration inputs",
    leaves_out="folding the scales into the layer before: they are applied and counted online",
    transform=PluginChoice(name="smooth"),
)

AWQ = Recipe(
    name="awq",
    summary="channel scales searched on the output error of the quantized weight, then clipping",
    source="AWQ, arXiv 2306.00978, and the clipping of its code",
    keeps="the scale search and the search of weight ranges on output error",
    leaves_out="weight-only groups of 128: activations have the budget's bits here",
    transform=PluginChoice(name="awq"),
    rounding=PluginChoice(name="mse-clip", params={"error": "output"}),
)

GPTQ = Recipe(
    name="gptq",
    summary="each column's rounding error is made up for by the columns after it",
    source="GPTQ, arXiv 2210.17323, algorithm 1, with activation order",
    keeps="Cholesky form, damping of 1%, activation order, min-max grid; rows that lose keep RTN",
    leaves_out="inputs from the quantized layers before: statistics are full precision's",
    rounding=PluginChoice(name="gptq"),
)

QUAROT = Recipe(
    name="quarot",
    summary="inputs and weights rotated by a randomised Hadamard matrix, then GPTQ",
    source="QuaRot, arXiv 2404.00456; online before every linear layer as HQ-DiT, 2405.19751",
    keeps="the rotation, and GPTQ on a grid of least squared error",
    leaves_out="folding into the residual stream, which adaLN forbids; clipping of activations",
    transform=PluginChoice(name="hadamard"),
    rounding=PluginChoice(name="gptq", params={"grid": "mse"}),
)

Q_DIT = Recipe(
    name="q-dit",
    summary="weights and activations in groups of 64 channels, activations dynamic, GPTQ",
    source="Q-DiT, arXiv 2406.17343, and its code",
    keeps="groups along the input, dynamic ranges per token and group, GPTQ",
    leaves_out="the evolutionary search of a group size for each layer (q-dit-search)",
    rounding=PluginChoice(name="gptq"),
    weight_format=WeightFormat(granularity="group", group=64),
    activation_format=ActivationFormat(granularity="token-group", group=64),
)

PTQ4DIT = Recipe(
    name="ptq4dit",
    summary="saliences balanced over time steps, static activations, blocks reconstructed",
    source="PTQ4DiT, arXiv 2405.16005, and its code",
    keeps="balancing except at mlp.down, static grids per tensor, 8-bit attention, reconstruction",
    leaves_out="folding into adaLN, quantizing embedding and final layers, all but 200 iterations",
    transform=PluginChoice(name="balance"),
    rounding=BLOCKWISE,
    activation_format=ActivationFormat(granularity="tensor"),
    attention_bits=8,
)

VIDIT_Q = Recipe(
    name="vidit-q",
    summary="fixed smoothing from the noisiest steps, then rotation; activations per token",
    source="ViDiT-Q, arXiv 2406.02540, static-dynamic channel balancing",
    keeps="smoothing, rotation, dynamic activations per token",
    leaves_out="its metric-decoupled mixed precision (mixdq)",
    transform=PluginChoice(name="static-dynamic"),
)

ADAROUND = Recipe(
    name="adaround",
    summary="up or down is learned for each weight on the output error of its layer",
    source="AdaRound, arXiv 2004.10568, section 3.2",
    keeps="rectified sigmoid, annealed regulariser, one layer at a time",
    leaves_out="the non-linearity after the layer, all but 1,000 of 20,000 iterations",
    rounding=PluginChoice(name="adaround"),
)

BRECQ = Recipe(
    name="brecq",
    summary="up or down is learned for all weights of a block on the block's output error",
    source="BRECQ, arXiv 2102.05426",
    keeps="blocks as the unit, learned rounding",
    leaves_out="Fisher weights, learned activation ranges, all but 200 of 20,000 iterations",
    rounding=BLOCKWISE,
)

# Rank 32 at the width of 1,152 of the DiTs that the paper measures, 4 at the embedded model's 128.
# In that ratio 16-bit branches take three quarters of the BitOPs that the layers take at W4A4: the
# paper states the bits of the layers alone, and so does the budget. The record has both readings.
SVDQUANT = Recipe(
    name="svdquant",
    summary="outliers smoothed into the weight, whose largest components a 16-bit branch takes",
    source="SVDQuant, arXiv 2411.05007, and its code",
    keeps="searched smoothing, the branch of the weight, 100 rounds at most, groups of 64",
    leaves_out="rank 32 (1/36 of the width), the shift after GELU, a branch inside the budget",
    transform=PluginChoice(name="smooth", params={"alpha": "search"}),
    branch=PluginChoice(name="low-rank", params={"ratio": 1 / 36, "iterations": 100}),
    branch_in_budget=False,
    weight_format=WeightFormat(granularity="group", group=64),
    activation_format=ActivationFormat(granularity="token-group", group=64),
)
