"""Factors of an ablation and their levels: from a recipe, from the command line, from a file."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ...core.errors import BenchError, unknown
from ...core.recipe import SLOTS, TEXTS, PluginChoice, Recipe
from ...core.settings import validate

OFF = "off"  # the level at which a slot is as in the default recipe
# What a level can set.
FIELDS = tuple(field for field in Recipe.model_fields if field not in (*TEXTS, "factors"))
_SAFE = r"[a-z0-9][a-z0-9+._-]*"
_WORDS = {True: "on", False: "off", None: "null"}  # YAML 1.1 reads these bare words otherwise


@dataclass(frozen=True)
class Level:
    """A named state of a factor; ``changes`` are recipe fields over the method's own."""

    name: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """What an ablation varies. Names of levels are unique and safe in file names."""

    name: str
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        names = [level.name for level in self.levels]
        for name in (self.name, *names):
            if not re.fullmatch(_SAFE, name):
                raise BenchError(
                    f"'{name}' of factor '{self.name}' is no safe file name: use lower-case "
                    "letters, digits and + . _ -, as in 'half: {name: eng, noise: 0.5}'"
                )
        if len(names) < 2:
            raise BenchError(f"factor '{self.name}' has one level: it needs two at least")
        name, count = Counter(names).most_common(1)[0]
        if count > 1:
            raise BenchError(f"factor '{self.name}' has {count} levels called '{name}'")

    @property
    def fields(self) -> frozenset[str]:
        """The recipe fields that some level sets."""
        return frozenset(field for level in self.levels for field in level.changes)


def default_factors(method: Recipe) -> list[Factor]:
    """Return the recipe's own ``factors``, or one for every slot that differs from the default.

    The levels of such a slot are the method's own choice and ``off``. Raises BenchError if no slot
    differs.
    """
    if method.factors:
        return factors_from(method.factors, f"method '{method.name}': factors")
    factors = []
    for slot in SLOTS:
        own, default = getattr(method, slot), Recipe.model_fields[slot].default
        if own != default:
            levels = (Level(_safe(own.name), {slot: own}), Level(OFF, {slot: default}))
            factors.append(Factor(slot, levels))
    if not factors:
        raise BenchError(
            f"method '{method.name}' differs from the default recipe in no slot: name what to "
            f"vary, as in --factor {SLOTS[0]}=A|B"
        )
    return factors


def parse_factor(text: str, method: Recipe) -> Factor:
    """Parse ``SLOT=level|level|...``.

    A level is a plugin's name, ``{name: eng, noise: 0.5}`` or, with a name of its own,
    ``half: {name: eng, noise: 0.5}``. The bare name of the method's own plugin is the method's own
    choice, parameters included. Several choices of one plugin are named after their parameters.
    Raises BenchError for other texts.
    """
    slot, equals, rest = text.partition("=")
    if not equals:
        raise BenchError(f"--factor '{text}' is not SLOT=LEVEL|LEVEL|...")
    if slot not in SLOTS:
        raise unknown("slot", slot, SLOTS)
    given = [_named_choice(part, slot, method) for part in rest.split("|")]
    plugins = Counter(choice.name for name, choice in given if name is None)
    levels = []
    for name, choice in given:
        if name is None:
            params = choice.params.items() if plugins[choice.name] > 1 else ()
            name = _safe("-".join([choice.name, *(str(part) for own in params for part in own)]))
        levels.append(Level(name, {slot: choice}))
    return Factor(slot, tuple(levels))


def factors_from(data: Any, where: str) -> list[Factor]:
    """Parse ``{factor: {level: {field: value, ...}}}`` of a YAML file. Raises BenchError."""
    if not isinstance(data, Mapping) or not data:
        raise BenchError(f"{where} is no mapping {{factor: {{level: {{slot: choice}}}}}}")
    factors = []
    for name, levels in data.items():
        if not isinstance(levels, Mapping):
            raise BenchError(f"{where}: factor '{_word(name)}' is no mapping of its levels")
        made = []
        for level, changes in levels.items():
            changes = {} if changes is None else changes
            if not isinstance(changes, Mapping):
                raise BenchError(f"{where}: level '{_word(level)}' is no mapping of recipe fields")
            for field in changes:
                if field not in FIELDS:
                    raise unknown("recipe field", str(field), FIELDS)
            made.append(Level(_word(level), dict(changes)))
        factors.append(Factor(_word(name), tuple(made)))
    return factors


def check_apart(factors: Sequence[Factor]) -> None:
    """Raise BenchError if two factors have one name or set one field of the recipe."""
    for other, factor in itertools.combinations(factors, 2):
        if factor.name == other.name:
            raise BenchError(f"two factors are called '{factor.name}'")
        if shared := sorted(factor.fields & other.fields):
            raise BenchError(
                f"factors '{other.name}' and '{factor.name}' both set '{shared[0]}': "
                "make one factor of them"
            )


def _named_choice(text: str, slot: str, method: Recipe) -> tuple[str | None, PluginChoice]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"--factor {slot}: '{text}' is no YAML: {reason}") from None
    name = None
    if isinstance(data, dict) and "name" not in data and len(data) == 1:
        ((key, data),) = data.items()
        name = _word(key)
    own: PluginChoice = getattr(method, slot)
    if not isinstance(data, dict):
        data = _word(data)
        if data == own.name:
            return name, own
    return name, validate(PluginChoice, data, f"--factor {slot}")


def _safe(name: str) -> str:
    return re.sub(r"[^a-z0-9+._-]+", "-", name.lower())


def _word(key: Any) -> str:
    known = isinstance(key, bool) or key is None
    return _WORDS[key] if known else str(key)
