"""The baseline plugins, found through the entry-point group like anyone's."""

PLUGINS = {
    "transform": {"none": "mpqbench.baselines.transforms.none:NoTransform"},
    "rounding": {"nearest": "mpqbench.baselines.roundings.nearest:Nearest"},
    "searcher": {"uniform": "mpqbench.baselines.searchers.uniform:Uniform"},
    "method": {
        "full-precision": "mpqbench.recipe:FULL_PRECISION",
        "rtn": "mpqbench.baselines.recipes:RTN",
    },
}
