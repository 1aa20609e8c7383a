"""A recipe as dotted settings, to find what differs between methods."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.recipe import TEXTS

Settings = Mapping[str, Any]

SEARCH = ("searcher", "objective", "environment", "evaluations", "choices")


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"searcher.name": "tss", "searcher.keep": 4, ...}`` of a record's recipe.

    Texts are left out, and so is what a recipe leaves to a plugin's default.
    """
    return dict(_leaves({key: recipe[key] for key in recipe if key not in TEXTS}, ""))


def without(settings: Settings, dropped: Iterable[str]) -> dict[str, Any]:
    """Return ``settings`` without the paths ``dropped`` and all paths below them."""
    prefixes = tuple(f"{path}." for path in dropped)
    return {path: value for path, value in settings.items() if not f"{path}.".startswith(prefixes)}


def key_of(settings: Settings) -> str:
    """Return one text for equal settings, whatever their order."""
    return json.dumps(settings, sort_keys=True)


def objective_of(recipe: Mapping[str, Any]) -> str:
    """Return the objective of a recipe with its parameters, such as ``output-mse``."""
    settings = settings_of({"objective": recipe.get("objective", {})})
    name = str(settings.pop("objective.name", ""))
    return f"{name} {key_of(settings)}" if settings else name


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, prefix if key == "params" else f"{prefix}{key}.")
        else:
            yield prefix + key, value
