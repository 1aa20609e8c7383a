"""A rounding and a transform, offered to mpqbench through its entry-point group."""

PLUGINS = {
    "rounding": {"dither": "mpqbench_dither.dither:Dither"},
    "transform": {"reorder": "mpqbench_dither.reorder:Reorder"},
}
