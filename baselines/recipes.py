"""Baseline methods: recipes by name."""

from mpqbench.recipe import Recipe

RTN = Recipe(
    name="rtn",
    summary="round to nearest on the min-max grid, the same precision everywhere",
    source="the textbook baseline of every quantization paper",
)
