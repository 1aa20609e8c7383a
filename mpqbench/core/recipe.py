"""Recipe, Protocol, Suite and Job: frozen data, validated once at the boundary, fingerprinted."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .errors import BenchError, unknown
from .formats import ActivationFormat, WeightFormat
from .precision import FULL, HIGHEST, LOWEST, Budget, Precision

_Model = TypeVar("_Model", bound=BaseModel)


def _canonical_precision(text: str) -> str:
    try:
        return str(Precision.parse(text))
    except BenchError as error:
        raise ValueError(str(error)) from None


def _canonical_budget(text: str) -> str:
    try:
        return str(Budget.parse(text))
    except BenchError as error:
        raise ValueError(str(error)) from None


PrecisionText = Annotated[str, AfterValidator(_canonical_precision)]

NEIGHBOURS = "neighbours"  # among choices: what lies next to the budget's precision
BARE_NEIGHBOURS = f"{NEIGHBOURS}-"  # the same without the recipe's branch


def _canonical_choice(text: str) -> str:
    try:
        return text if text in (NEIGHBOURS, BARE_NEIGHBOURS) else _canonical_precision(text)
    except ValueError as error:
        raise ValueError(f"{error}; or write {NEIGHBOURS} or {BARE_NEIGHBOURS}") from None


ChoiceText = Annotated[str, AfterValidator(_canonical_choice)]
BudgetText = Annotated[str, AfterValidator(_canonical_budget)]


class Frozen(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest_of(content: Any) -> str:
    """First 16 hex digits of the SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class PluginChoice(Frozen):
    """A plugin by name with its parameters; in YAML ``nearest`` or ``{name: nearest, ...}``."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "params" not in value:
            params = {key: item for key, item in value.items() if key != "name"}
            return {"name": value.get("name"), "params": params}
        return value


TEXTS = ("name", "summary", "source", "keeps", "leaves_out")  # change no result
# What is a plugin.
SLOTS = (
    "transform", "rounding", "branch", "searcher", "objective", "environment", "tuner",
    "correction",
)  # fmt: skip


class Recipe(Frozen):
    """One choice per slot with parameters: a method is a named recipe, data and not code.

    ``source`` is the paper it follows, ``keeps`` and ``leaves_out`` what of it; none of the four
    texts changes a result. ``factors`` is what ``mpqbench ablate`` varies of it by default, as
    ``{factor: {level: {field: value}}}``: it is inherited with ``base`` and written nowhere.
    ``evaluations`` is the most that a search may spend, in forwards of the calibration set; left
    out, there is no limit. ``early_drop`` is the error level at which a search's joint scoring lets
    a candidate go that a cheaper one beats on the inputs so far (a paired comparison, see
    ``search.race``); left out, every candidate sees all inputs. What branches take counts against
    the budget unless ``branch_in_budget`` is false.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9+._-]*$")
    summary: str = ""
    source: str = ""
    keeps: str = ""
    leaves_out: str = ""
    factors: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict, exclude=True)
    transform: PluginChoice = PluginChoice(name="none")
    rounding: PluginChoice = PluginChoice(name="nearest")
    branch: PluginChoice = PluginChoice(name="none")
    branch_in_budget: bool = True
    searcher: PluginChoice = PluginChoice(name="uniform")
    objective: PluginChoice = PluginChoice(name="output-mse")
    environment: PluginChoice = PluginChoice(name="clean")
    tuner: PluginChoice = PluginChoice(name="none")
    correction: PluginChoice = PluginChoice(name="none")
    evaluations: float | None = Field(default=None, gt=0)
    early_drop: float | None = Field(default=None, gt=0, lt=1)
    weight_format: WeightFormat = WeightFormat()
    activation_format: ActivationFormat = ActivationFormat()
    attention_bits: int | None = Field(default=None, ge=LOWEST, le=HIGHEST)
    choices: tuple[ChoiceText, ...] = ()
    adaln: PrecisionText = "W8A8"


FULL_PRECISION = Recipe(
    name="full-precision",
    summary="the model as it is: the reference of every pair",
    adaln="FP",
)


class Protocol(Frozen):
    """How images are made and judged. Rows of different protocols are never ranked together."""

    name: str
    images: int = Field(gt=0)
    sampler: Literal["ddim", "ddpm"] = "ddim"
    steps: int = Field(gt=0, le=1000)
    guidance: float = Field(default=1.5, ge=1.0)
    convention: Literal["original", "diffusers"] = "original"
    micro_batch: int = Field(default=50, gt=0)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    features: str = "fashion"
    feature_weights: str | None = None
    reference: str = "embedded"
    calibration: int = Field(default=64, gt=0)


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(name="smoke", images=64, steps=4, micro_batch=32, calibration=16),
        Protocol(name="quick", images=1000, steps=20),
        Protocol(name="full", images=10_000, steps=20),
        Protocol(
            name="dit-10k", images=10_000, sampler="ddpm", steps=100, micro_batch=16,
            features="inception-adm", reference="VIRTUAL_imagenet256_labeled.npz",
        ),
        Protocol(
            name="dit-50k", images=50_000, sampler="ddpm", steps=250, micro_batch=16,
            features="inception-adm", reference="VIRTUAL_imagenet256_labeled.npz",
        ),
    )
}  # fmt: skip


def _protocol_from_short_form(value: Any) -> Any:
    """``quick``, or ``{base: quick, images: 2000}``, or all fields."""
    if isinstance(value, str):
        value = {"base": value}
    if isinstance(value, dict) and "base" in value:
        base = value["base"]
        if base not in PROTOCOLS:
            raise ValueError(str(unknown("protocol", str(base), PROTOCOLS)))
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
        """The methods by name. Raises BenchError where one has none or two have the same."""
        names = [_name_of(method) for method in self.methods]
        for name in names:
            if names.count(name) > 1:
                raise BenchError(f"suite '{self.name}' names two methods '{name}'")
        return dict(zip(names, self.methods, strict=True))


def _name_of(method: str | dict[str, Any]) -> str:
    if isinstance(method, str):
        return method
    if "name" not in method:
        based = f" based on '{method['base']}'" if "base" in method else ""
        raise BenchError(f"a method{based} needs a name of its own")
    return str(method["name"])


@dataclass(frozen=True)
class Job:
    """One cell of a suite: a method on a model at a budget with a seed under a protocol."""

    model: str
    recipe: Recipe
    budget: Budget
    seed: int
    protocol: Protocol
    device: str = "cpu"

    @property
    def id(self) -> str:
        """File-name-safe name, unique within a suite."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.model).strip("-.")
        if name != self.model:
            name = f"{Path(self.model).name[:40]}-{digest_of(self.model)[:6]}"
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        return f"{name}__{self.recipe.name}__{self.budget}__s{self.seed}"

    @property
    def is_reference(self) -> bool:
        """Whether this is the full-precision model, which every other job is paired with."""
        return self.recipe.name == FULL_PRECISION.name

    @property
    def reference(self) -> Job:
        """The full-precision job of the same model, seed and protocol."""
        return replace(self, recipe=FULL_PRECISION, budget=Budget(FULL))


def validate(cls: type[_Model], data: Any, where: str) -> _Model:
    """``data`` as ``cls``. Raises BenchError with the first mistake in one sentence."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
        place = ".".join(str(part) for part in path)
        if first["type"] == "extra_forbidden":
            mistake = unknown("key", str(path[-1]), _fields_at(cls, path[:-1]))
            raise BenchError(f"{where}: {mistake}") from None
        message = first["msg"].removeprefix("Value error, ")
        raise BenchError(f"{where}: {place + ': ' if place else ''}{message}") from None


def _fields_at(cls: type[BaseModel], path: list[Any]) -> list[str]:
    """Valid keys of the (nested) model that ``path`` leads to."""
    for part in path:
        field = cls.model_fields.get(part) if isinstance(part, str) else None
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            cls = annotation
    return list(cls.model_fields)


def read_yaml(path: Path) -> Any:
    """Content of a YAML file. Raises BenchError where it is missing or malformed."""
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BenchError(f"{path} does not exist: give a YAML file or a built-in suite") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"{path} is not readable YAML: {reason}") from None
