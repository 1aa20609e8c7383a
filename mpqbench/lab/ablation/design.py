"""The design of an ablation, kept beside the records: its factors, their levels, its sweeps.

Factors come from a recipe, from the command line or from a file.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...core.errors import BenchError, shown, unknown
from ...core.files import write_atomic
from ...core.recipe import SLOTS, TEXTS, PluginChoice, Recipe
from ...core.settings import Flag, Frozen, validate
from ...core.yaml_text import dump_yaml, parse_yaml, read_yaml

# A level is a named state of a factor: recipe fields, or parameters such as ``rounding.damp``, over
# the method's own, as plain data.
Levels = dict[str, dict[str, Any]]
Factors = dict[str, Levels]
Scale = Literal["log", "linear"]

FILE = "ablation.yaml"
OFF = "off"  # the level at which a slot is as in the default recipe
# What a level can set.
FIELDS = tuple(field for field in Recipe.model_fields if field not in (*TEXTS, "factors"))
_SAFE = r"[a-z0-9][a-z0-9+._-]*"
_WORDS = {True: "on", False: "off", None: "null"}  # YAML 1.1 reads these bare words otherwise


class Design(Frozen):
    """A method and what is varied of it: ``factors`` in combination, or numbers in ``sweeps``.

    ``method`` is the recipe itself, so that a later change of that name has no effect. ``factors``
    are ``{factor: {level: {field: value}}}``; without any they are the method's own. With
    ``sweeps`` there is at most one factor, whose levels are lines; ``full`` and ``scale`` are
    ignored.
    """

    method: Recipe
    factors: Factors = Field(default_factory=dict)
    sweeps: tuple[str, ...] = ()
    full: Flag = True
    scale: Scale = "log"

    def save(self, folder: Path) -> Path:
        """Write ``ablation.yaml``; return its path."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        if not (self.factors or self.sweeps):
            data["factors"] = default_factors(self.method)
        path = folder / FILE
        text = dump_yaml(data, width=100)
        write_atomic(path, text.encode())
        return path


def load(folder: Path) -> Design | None:
    """Return the design in ``folder``, ``None`` if there is none. Raises BenchError."""
    path = folder / FILE
    return validate(Design, read_yaml(path), str(path)) if path.is_file() else None


def default_factors(method: Recipe) -> Factors:
    """Return the recipe's own ``factors``, or one for every slot that differs from the default.

    The levels of such a slot are the method's own choice and ``off``. Raises BenchError if no slot
    differs.
    """
    if method.factors:
        return factors_from(method.factors, f"method '{method.name}': factors")
    factors = {}
    for slot in SLOTS:
        choice, default = getattr(method, slot), Recipe.model_fields[slot].default
        if choice != default:
            levels = [(_safe(choice.name), _plain(slot, choice)), (OFF, _plain(slot, default))]
            factors[slot] = _checked(slot, levels)
    if not factors:
        raise BenchError(
            f"method '{method.name}' differs from the default recipe in no slot: name what to "
            f"vary, as in --factor {SLOTS[0]}=A|B"
        )
    return factors


def parse_factors(texts: Sequence[str], method: Recipe) -> Factors:
    """Parse texts ``SLOT=level|level|...`` or ``SLOT.PARAMETER=value|value|...``.

    A level is a plugin's name, ``{name: eng, noise: 0.5}`` or, with a name of its own,
    ``half: {name: eng, noise: 0.5}``. The bare name of the method's own plugin is the method's own
    choice, parameters included. Several choices of one plugin are named after their parameters.
    Raises BenchError for other texts.
    """
    factors: Factors = {}
    for text in texts:
        slot, equals, rest = text.partition("=")
        if not equals:
            raise BenchError(f"--factor '{text}' is not SLOT=LEVEL|LEVEL|...")
        head, dot, _ = slot.partition(".")
        if head not in (FIELDS if dot else SLOTS):
            raise unknown("slot", head, SLOTS)
        if dot:
            values = [(_safe(part.strip()), {slot: _value(part, slot)}) for part in rest.split("|")]
            factors = merged(factors, {slot: _checked(slot, values)})
            continue
        given = [_named_choice(part, slot, method) for part in rest.split("|")]
        plugins = Counter(choice.name for name, choice in given if name is None)
        levels = []
        for name, choice in given:
            if name is None:
                params = choice.params.items() if plugins[choice.name] > 1 else ()
                parts = [choice.name, *(str(part) for pair in params for part in pair)]
                name = _safe("-".join(parts))
            levels.append((name, _plain(slot, choice)))
        factors = merged(factors, {slot: _checked(slot, levels)})
    return factors


def factors_from(data: Any, where: str) -> Factors:
    """Check ``{factor: {level: {field: value, ...}}}`` of a YAML file. Raises BenchError."""
    if not isinstance(data, Mapping) or not data:
        raise BenchError(f"{where} is no mapping {{factor: {{level: {{slot: choice}}}}}}")
    factors = {}
    for name, levels in data.items():
        if not isinstance(levels, Mapping):
            raise BenchError(f"{where}: factor '{_word(name)}' is no mapping of its levels")
        for level, changes in levels.items():
            if not isinstance(changes, Mapping | None):
                raise BenchError(f"{where}: level '{_word(level)}' is no mapping of recipe fields")
            for field in changes or {}:
                if str(field).partition(".")[0] not in FIELDS:
                    raise unknown("recipe field", str(field), FIELDS)
        named = [(_word(level), dict(changes or {})) for level, changes in levels.items()]
        factors[_word(name)] = _checked(_word(name), named)
    return factors


def merged(first: Factors, second: Factors) -> Factors:
    """Return the factors of both. Raises BenchError if two have one name."""
    for name in first.keys() & second.keys():
        raise BenchError(f"two factors are called '{name}'")
    return first | second


def fields_of(levels: Levels) -> set[str]:
    """Return the recipe fields, and parameters such as ``rounding.damp``, that some level sets."""
    return {field for changes in levels.values() for field in changes}


def _checked(factor: str, levels: Sequence[tuple[str, dict[str, Any]]]) -> Levels:
    names = [name for name, _ in levels]
    for name in (factor, *names):
        if not re.fullmatch(_SAFE, name):
            raise BenchError(
                f"'{name}' of factor '{factor}' is no safe file name: use lower-case letters, "
                "digits and + . _ -, as in 'half: {name: eng, noise: 0.5}'"
            )
    if len(names) < 2:
        raise BenchError(f"factor '{factor}' has one level: it needs two at least")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise BenchError(f"factor '{factor}' has {count} levels called '{name}'")
    return dict(levels)


def _named_choice(text: str, slot: str, method: Recipe) -> tuple[str | None, PluginChoice]:
    data, name = _value(text, slot), None
    if isinstance(data, dict) and "name" not in data and len(data) == 1:
        ((key, data),) = data.items()
        name = _word(key)
    choice: PluginChoice = getattr(method, slot)
    if not isinstance(data, dict):
        data = _word(data)
        if data == choice.name:
            return name, choice
    return name, validate(PluginChoice, data, f"--factor {slot}")


def _value(text: str, factor: str) -> Any:
    return parse_yaml(text, f"--factor {factor}: {shown(text)}")


def _plain(slot: str, choice: PluginChoice) -> dict[str, Any]:
    return {slot: choice.model_dump(mode="json")}


def _safe(name: str) -> str:
    return re.sub(r"[^a-z0-9+._-]+", "-", name.lower())


def _word(key: Any) -> str:
    known = isinstance(key, bool) or key is None
    return _WORDS[key] if known else str(key)
