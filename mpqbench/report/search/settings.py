"""A recipe as dotted settings, to tell what differs between methods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...core.recipe import TEXTS

Settings = Mapping[str, Any]

SEARCH = ("searcher", "objective", "environment", "evaluations", "choices")


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``{"searcher.name": "tss", "searcher.keep": 4, ...}`` of a record's recipe, without texts.

    Parameters of a plugin stand beside its name. What a recipe leaves to a plugin's default is
    not there.
    """
    return dict(_leaves({key: recipe[key] for key in recipe if key not in TEXTS}, ""))


def without(settings: Settings, dropped: Iterable[str]) -> dict[str, Any]:
    """``settings`` without those ``dropped``, nor what lies below them."""
    prefixes = tuple(dropped)
    return {
        path: value
        for path, value in settings.items()
        if not any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)
    }


def key_of(settings: Settings) -> str:
    """The same text for the same settings."""
    return json.dumps(settings, sort_keys=True)


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, prefix if key == "params" else f"{prefix}{key}.")
        else:
            yield prefix + key, value
