"""TreeQ's parts as recipes: what of it there is, and under what name."""

from __future__ import annotations

from mpqbench.recipe import PluginChoice, Recipe

TREEQ_SEARCH = Recipe(
    name="treeq-search",
    summary="tree-structured search in a network whose other layers are quantized",
    source="TreeQ, arXiv 2512.06353, its abstract and figures: TSS and ENG",
    keeps="joint scores of merged neighbours, 16 of 16 x 16 kept, an environment of full noise",
    leaves_out="the Monarch branch; which 16 are kept, and all else left open, is our choice",
    searcher=PluginChoice(name="tss"),
    environment=PluginChoice(name="eng", params={"noise": 1.0}),
)
