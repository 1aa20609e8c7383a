"""Suites, and the jobs that they consist of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field

from .errors import BenchError, shown, unknown
from .formats import OWN, formats_of_class
from .precision import FULL, Budget
from .protocol import PROTOCOLS, Protocol
from .recipe import FULL_PRECISION, Recipe
from .settings import MOST_NAME, SAFE_NAME, Frozen, Seed, digest_of

MOST_REALIZATIONS = 1000
Realizations = Annotated[int, Field(strict=True, ge=1, le=MOST_REALIZATIONS)]
BudgetText = Annotated[str, AfterValidator(lambda text: str(Budget.parse(text)))]


def _protocol_from_short_form(value: Any) -> Any:
    """Take ``quick``, ``{base: quick, images: 2000}`` or all fields."""
    if isinstance(value, str):
        value = {"base": value}
    if isinstance(value, dict) and "base" in value:
        base = value["base"]
        if not isinstance(base, str) or base not in PROTOCOLS:
            raise unknown("protocol", base, PROTOCOLS)
        return PROTOCOLS[base].model_dump() | {k: v for k, v in value.items() if k != "base"}
    return value


def _known_class(name: str) -> str:
    formats_of_class(name)
    return name


class Suite(Frozen):
    """Models x methods x formats x budgets x seeds x realizations under one protocol.

    Methods are names or recipes; a recipe may have ``realizations`` of its own. With ``formats``,
    classes such as ``channel`` and ``g32``, every method is run in each class but those whose idea
    is the format, which are run once; without, methods keep their own formats.
    """

    name: str = Field(pattern=SAFE_NAME, max_length=MOST_NAME)
    models: tuple[Annotated[str, Field(min_length=1)], ...] = Field(("fashion-dit",), min_length=1)
    methods: tuple[str | dict[str, Any], ...] = Field(min_length=1)
    budgets: tuple[BudgetText, ...] = Field(min_length=1)
    formats: tuple[Annotated[str, AfterValidator(_known_class)], ...] = ()
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    realizations: Realizations = 1
    protocol: Annotated[Protocol, BeforeValidator(_protocol_from_short_form)] = PROTOCOLS["quick"]

    @property
    def named(self) -> dict[str, str | dict[str, Any]]:
        """The methods by name, without their numbers of realizations; raises as ``entries``."""
        return {
            name: method
            if isinstance(method, str)
            else {key: value for key, value in method.items() if key != "realizations"}
            for name, method in self.entries.items()
        }

    def realizations_of(self, name: str) -> int:
        """Return how often the method ``name`` is realized: its own number, or the suite's.

        Raises BenchError where its own number is no whole number from 1 to 1000.
        """
        entry = self.entries.get(name, name)
        own = self.realizations if isinstance(entry, str) else entry.get("realizations")
        if own is None:
            return self.realizations
        if type(own) is not int or not 1 <= own <= MOST_REALIZATIONS:
            raise BenchError(
                f"suite '{self.name}': method '{name}' has realizations {shown(own)}; write a "
                f"whole number from 1 to {MOST_REALIZATIONS}"
            )
        return own

    @property
    def entries(self) -> dict[str, str | dict[str, Any]]:
        """The methods by name, as written.

        Raises BenchError where a method has no name or two share one.
        """
        named: dict[str, str | dict[str, Any]] = {}
        for method in self.methods:
            name = method if isinstance(method, str) else method.get("name")
            if not isinstance(name, str) or not name:
                raise BenchError(
                    f"suite '{self.name}': a method with fields needs a name of its own, a text: "
                    f"{shown(method)}"
                )
            if name in named:
                raise BenchError(
                    f"suite '{self.name}' names two methods '{name}': leave one out or rename it"
                )
            named[name] = method
        return named

    def in_classes(self, recipe: Recipe) -> dict[str, Recipe]:
        """Return the recipes that are run in place of ``recipe``, by class: "" without classes.

        Raises BenchError as ``Recipe.in_class``.
        """
        found: dict[str, Recipe] = {}
        for name in self.formats:
            formatted = recipe.in_class(name)
            found[OWN if formatted is recipe else name] = formatted
        return found or {"": recipe}


@dataclass(frozen=True)
class Job:
    """One job of a suite: a method on a model at a budget with a seed under a protocol.

    ``seed`` decides noise and conditions of what is measured, ``realization`` the calibration set
    and whatever else a method draws: neither depends on the other. ``format_class`` is there where
    the suite has classes of formats.
    """

    model: str
    recipe: Recipe
    budget: Budget
    seed: int
    protocol: Protocol
    device: str = "cpu"
    format_class: str = ""
    realization: int = 0

    @property
    def id(self) -> str:
        """A name that is safe for files; ``check_names`` sees that it is unique within a suite.

        Jobs of two protocols have two names, by the last part, which is a digest of the protocol.
        A model whose name is no safe file name of 60 characters at most goes by its last safe
        part and a digest.
        """
        name = self.model
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,58}[A-Za-z0-9])?", name):
            part = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name[:40]).strip("-._")
            name = f"{part or 'model'}-{digest_of(name)[:6]}"
        # A field that a protocol leaves at its default may be younger than records on disk.
        settings = self.protocol.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
        formats = f"__{self.format_class}" if self.format_class else ""
        budget = str(self.budget).replace(":", "-")  # a colon is not safe everywhere
        condition = f"{self.recipe.name}__{budget}{formats}__s{self.seed}"
        if self.realization:  # a first realization has the name that jobs always had
            condition += f"__r{self.realization}"
        return f"{name}__{condition}__p{digest_of(settings)[:6]}"

    @property
    def is_reference(self) -> bool:
        """Whether this is the full-precision model, which every other job is paired with."""
        return self.recipe.name == FULL_PRECISION.name

    @property
    def reference(self) -> Self:
        """The full-precision job of the same model, seed and protocol."""
        full = replace(self, recipe=FULL_PRECISION, budget=Budget(FULL))
        return replace(full, format_class="", realization=0)


def check_names(jobs: Sequence[Job]) -> None:
    """Raise BenchError where two jobs would share their files."""
    found: dict[str, Job] = {}
    for job in jobs:
        other = found.setdefault(job.id, job)
        if other is not job:
            raise BenchError(
                f"'{other.model}' with method '{other.recipe.name}' and '{job.model}' with "
                f"'{job.recipe.name}' both make the job '{job.id}': rename one of them"
            )
