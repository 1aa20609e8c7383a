"""Suites, and the jobs that they consist of."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field

from .errors import BenchError, unknown
from .precision import FULL, Budget
from .protocol import PROTOCOLS, Protocol
from .recipe import FULL_PRECISION, Recipe
from .settings import Frozen, digest_of

BudgetText = Annotated[str, AfterValidator(lambda text: str(Budget.parse(text)))]


def _protocol_from_short_form(value: Any) -> Any:
    """Take ``quick``, ``{base: quick, images: 2000}`` or all fields."""
    if isinstance(value, str):
        value = {"base": value}
    if isinstance(value, dict) and "base" in value:
        base = value["base"]
        if base not in PROTOCOLS:
            raise unknown("protocol", str(base), PROTOCOLS)
        return PROTOCOLS[base].model_dump() | {k: v for k, v in value.items() if k != "base"}
    return value


class Suite(Frozen):
    """Models x methods x budgets x seeds under one protocol. Methods are names or recipes."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    models: tuple[str, ...] = ("fashion-dit",)
    methods: tuple[str | dict[str, Any], ...] = Field(min_length=1)
    budgets: tuple[BudgetText, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = (0,)
    protocol: Annotated[Protocol, BeforeValidator(_protocol_from_short_form)] = PROTOCOLS["quick"]

    @property
    def named(self) -> dict[str, str | dict[str, Any]]:
        """The methods by name. Raises BenchError where a method has no name or two share one."""
        named: dict[str, str | dict[str, Any]] = {}
        for method in self.methods:
            name = method if isinstance(method, str) else str(method.get("name", ""))
            if not name:
                raise BenchError(
                    f"suite '{self.name}': a method with fields needs a name of its own"
                )
            if name in named:
                raise BenchError(
                    f"suite '{self.name}' names two methods '{name}': leave one out or rename it"
                )
            named[name] = method
        return named


@dataclass(frozen=True)
class Job:
    """One job of a suite: a method on a model at a budget with a seed under a protocol."""

    model: str
    recipe: Recipe
    budget: Budget
    seed: int
    protocol: Protocol
    device: str = "cpu"

    @property
    def id(self) -> str:
        """A name that is safe for files. Jobs of two protocols have two names, by its last part."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.model).strip("-.")
        if name != self.model:
            name = f"{Path(self.model).name[:40]}-{digest_of(self.model)[:6]}"
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        # A field that a protocol leaves at its default may be younger than records on disk.
        settings = self.protocol.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
        condition = f"{self.recipe.name}__{self.budget}__s{self.seed}"
        return f"{name}__{condition}__p{digest_of(settings)[:6]}"

    @property
    def is_reference(self) -> bool:
        """Whether this is the full-precision model, which every other job is paired with."""
        return self.recipe.name == FULL_PRECISION.name

    @property
    def reference(self) -> Self:
        """The full-precision job of the same model, seed and protocol."""
        return replace(self, recipe=FULL_PRECISION, budget=Budget(FULL))
