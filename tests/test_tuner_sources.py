"""Editing the training loop invalidates what was trained by it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpqbench.core import registry as registry_module
from mpqbench.core.recipe import Recipe
from mpqbench.core.registry import discover
from mpqbench.tuning import checkpoint, loop, settings


@pytest.fixture
def edit(monkeypatch):
    """Makes the file of a module read as if a line had been added to it."""
    real = Path.read_bytes

    def call(module):
        monkeypatch.setattr(
            registry_module.Path,
            "read_bytes",
            lambda path: real(path) + (b"#\n" if path == Path(module.__file__) else b""),
        )

    return call


@pytest.mark.parametrize("module", [loop, checkpoint, settings], ids=lambda m: m.__name__)
def test_the_training_loop_is_part_of_a_tuner(edit, module):
    known = discover()
    tuned = [Recipe(name="x", tuner={"name": name}) for name in ("peft", "qat")]
    before = [known.source_digest(recipe) for recipe in tuned]
    edit(module)
    after = [known.source_digest(recipe) for recipe in tuned]
    assert not set(before) & set(after)


@pytest.mark.parametrize("module", [checkpoint, settings], ids=lambda m: m.__name__)
def test_what_is_not_tuned_does_not_depend_on_it(edit, module):
    known = discover()
    methods = [entry.load() for entry in known.entries("method")]
    plain = [recipe for recipe in methods if recipe.tuner.name == "none"]
    before = [known.source_digest(recipe) for recipe in plain]
    edit(module)
    assert [known.source_digest(recipe) for recipe in plain] == before
