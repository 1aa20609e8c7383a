"""Recipes: one plugin for each slot, with parameters. A method is a named recipe."""

from collections.abc import Iterable, Mapping
from textwrap import shorten
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from .errors import BenchError
from .formats import OWN, ActivationFormat, WeightFormat, format_class, formats_of_class
from .precision import HIGHEST, LOWEST, Precision
from .settings import MOST_NAME, Flag, Frozen, Number, Whole, plain_data, validate

NEIGHBOURS = "neighbours"  # among choices: what lies next to the budget's precision
BARE_NEIGHBOURS = f"{NEIGHBOURS}-"  # the same without the recipe's branch


def _canonical_choice(text: str) -> str:
    try:
        return text if text in (NEIGHBOURS, BARE_NEIGHBOURS) else str(Precision.parse(text))
    except BenchError as error:
        raise BenchError(f"{error}; or write {NEIGHBOURS} or {BARE_NEIGHBOURS}") from None


def _each_once(texts: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise BenchError(f"{twice} is there twice: leave one out")
    return texts


PrecisionText = Annotated[str, AfterValidator(lambda text: str(Precision.parse(text)))]
ChoiceText = Annotated[str, AfterValidator(_canonical_choice)]


class PluginChoice(Frozen):
    """A plugin by name with parameters; in YAML ``nearest`` or ``{name: nearest, ...}``."""

    name: str
    params: Annotated[dict[str, Any], AfterValidator(plain_data)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "params" not in value:
            params = {key: item for key, item in value.items() if key != "name"}
            return {key: value[key] for key in ("name",) if key in value} | {"params": params}
        return value


TEXTS = ("name", "summary", "source", "keeps", "leaves_out")  # fields that change no result
_SAME = (*TEXTS, "factors", "evaluations", "early_drop")  # the texts of a base hold with others
# The fields that are plugins.
SLOTS = (
    "transform", "rounding", "branch", "searcher", "objective", "environment", "tuner",
    "correction",
)  # fmt: skip


class Recipe(Frozen):
    """One plugin for each slot, with parameters, and the formats: a method is a named recipe.

    ``source`` is the paper that the recipe follows, ``keeps`` and ``leaves_out`` what it takes from
    the paper and omits. ``factors``, in no record, are what ``mpqbench ablate`` varies by default:
    ``{factor: {level: {field: value}}}``. ``evaluations`` is the most that a search may spend, in
    forwards of the calibration set, without a limit by default. ``early_drop`` is the error level
    at which joint scoring drops a candidate (see ``search.scoring``), by default none. Branches
    count against the budget unless ``branch_in_budget`` is false. ``format_is_part`` says that the
    formats are the idea of the method, which keeps them where a suite gives all others a class.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9+._-]*$", max_length=MOST_NAME)
    summary: str = ""
    source: str = ""
    keeps: str = ""
    leaves_out: str = ""
    factors: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict, exclude=True)
    transform: PluginChoice = PluginChoice(name="none")
    rounding: PluginChoice = PluginChoice(name="nearest")
    branch: PluginChoice = PluginChoice(name="none")
    branch_in_budget: Flag = True
    searcher: PluginChoice = PluginChoice(name="uniform")
    objective: PluginChoice = PluginChoice(name="output-mse")
    environment: PluginChoice = PluginChoice(name="clean")
    tuner: PluginChoice = PluginChoice(name="none")
    correction: PluginChoice = PluginChoice(name="none")
    evaluations: Number | None = Field(default=None, gt=0)
    early_drop: Number | None = Field(default=None, gt=0, lt=1)
    weight_format: WeightFormat = WeightFormat()
    activation_format: ActivationFormat = ActivationFormat()
    format_is_part: Flag = False
    attention_bits: Whole | None = Field(default=None, ge=LOWEST, le=HIGHEST)
    choices: Annotated[tuple[ChoiceText, ...], AfterValidator(_each_once)] = ()
    adaln: PrecisionText = "W8A8"

    @property
    def format_class(self) -> str:
        """The class of its formats, ``own`` where they are its idea or a part of its search."""
        own = self.format_is_part or self._searches_groups
        return OWN if own else format_class(self.weight_format, self.activation_format)

    @property
    def _searches_groups(self) -> bool:
        texts = (text for text in self.choices if text not in (NEIGHBOURS, BARE_NEIGHBOURS))
        return any(Precision.parse(text).group is not None for text in texts)

    def in_class(self, name: str) -> Self:
        """Return this recipe with the formats of class ``name``; itself where they are its idea.

        Raises BenchError for a name that is no class, and for group sizes among the choices.
        """
        weight, activation = formats_of_class(name)
        if self.format_is_part:
            return self
        if self._searches_groups:
            raise BenchError(
                f"method '{self.name}' searches group sizes and has no place in class '{name}': "
                "give the method format_is_part: true, and it keeps its formats"
            )
        formats = {"weight_format": weight, "activation_format": activation}
        return self.model_copy(update=formats)


def derived(base: Recipe, fields: Mapping[str, Any], where: str) -> Recipe:
    """Return ``base`` with other ``fields``, without texts that may no longer be true.

    Where the method is another one, the summary says what differs, and the other texts are empty,
    unless ``fields`` give them. Raises BenchError that begins with ``where``.
    """
    inherited = base.model_dump(exclude={"name"}) | {"factors": base.factors}
    recipe = validate(Recipe, inherited | dict(fields), where)
    changes = [
        f"{name} {_plain(getattr(recipe, name))}"
        for name in Recipe.model_fields
        if name not in _SAME and getattr(recipe, name) != getattr(base, name)
    ]
    if not changes:
        return recipe
    texts = {"source": "", "keeps": "", "leaves_out": "", "summary": ""}
    texts["summary"] = f"{base.name} with {', '.join(changes)}"
    return recipe.model_copy(update={k: v for k, v in texts.items() if k not in fields})


def _plain(value: Any) -> str:
    """Return the value of a field as a summary shows it, shortened."""
    if isinstance(value, PluginChoice):
        inside = ", ".join(f"{key}: {each}" for key, each in value.params.items())
        value = f"{value.name} ({inside})" if inside else value.name
    elif isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True).values()
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    text = " ".join(map(str, parts))
    return shorten(text, 60, placeholder=" ...") or "default"


FULL_PRECISION = Recipe(
    name="full-precision",
    summary="the model as it is: the reference of every pair",
    adaln="FP",
)
