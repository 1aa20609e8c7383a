"""Number formats of weights and activations: frozen values of a recipe, not plugins."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .errors import BenchError, shown
from .settings import Frozen, Whole

MOST_GROUP = 2**20  # wider than any layer
Symmetry = Literal["full", "restricted", False]


def _kind_of_symmetry(value: Any) -> Any:
    """Take ``true`` as "restricted", the only kind when records had no word for two."""
    if value is True:
        return "restricted"
    if value is False or value in ("full", "restricted"):
        return value
    raise BenchError(f"a grid is full, restricted or false, not {shown(value)}")


SymmetryText = Annotated[Symmetry, BeforeValidator(_kind_of_symmetry)]


class _Format(Frozen):
    """``symmetric``: "full" has 2^b levels, "restricted" 2^b - 1; see ``quant.affine``."""

    granularity: str
    group: Whole | None = Field(default=None, gt=0, le=MOST_GROUP)
    symmetric: SymmetryText = "restricted"

    @model_validator(mode="after")
    def _group_belongs_to_groups(self) -> Self:
        grouped = self.granularity.endswith("group")
        if grouped and self.group is None:
            raise BenchError(f"granularity '{self.granularity}' needs 'group', e.g. group: 64")
        if not grouped and self.group is not None:
            raise BenchError(
                f"granularity '{self.granularity}' takes no 'group': leave 'group' out"
            )
        return self


class WeightFormat(_Format):
    """Which weights of a matrix (out, in) share a scale.

    ``tensor``: one scale; ``channel``: one per output row; ``group``: one per row and ``group``
    consecutive input columns.
    """

    granularity: Literal["tensor", "channel", "group"] = "channel"


class ActivationFormat(_Format):
    """Which numbers of a layer's input (..., tokens, in) share a scale.

    ``tensor``: one static scale from calibration over all time steps, or one for each of
    ``time_groups`` equal parts of the trained time axis (as in TFMQ-DM, arXiv 2311.16503, and
    TQ-DiT, arXiv 2502.04056); ``token``: one dynamic scale per token; ``token-group``: one dynamic
    scale per token and ``group`` consecutive channels.
    """

    granularity: Literal["tensor", "token", "token-group"] = "token"
    symmetric: SymmetryText = False
    time_groups: Whole = Field(default=1, gt=0, le=1000)

    @model_validator(mode="after")
    def _time_belongs_to_static(self) -> Self:
        if self.time_groups > 1 and not self.is_static:
            raise BenchError(
                f"granularity '{self.granularity}' is measured on the fly and takes no "
                "'time_groups': they belong to granularity 'tensor'"
            )
        return self

    @property
    def is_static(self) -> bool:
        """Whether the range comes from calibration and not from the input itself."""
        return self.granularity == "tensor"


PER_CHANNEL = WeightFormat()
OWN = "own"  # the class of methods whose idea is the format: each is compared with itself alone
PER_TOKEN = ActivationFormat()


def format_class(weight: WeightFormat, activation: ActivationFormat) -> str:
    """Return the class of two formats: how many numbers share a scale on either side.

    ``channel`` for one weight scale per output channel and one dynamic input scale per token,
    ``g32`` for one per 32 input channels on both sides; others name both, such as ``g64/token``
    and ``channel/static``. Symmetric and asymmetric grids are one class.
    """
    sides = weight.granularity, "static" if activation.is_static else activation.granularity
    w, a = (
        name if fmt.group is None else f"g{fmt.group}"
        for name, fmt in zip(sides, (weight, activation), strict=True)
    )
    if (w, a) == ("channel", "token"):
        return w
    return w if w == a else f"{w}/{a}"


def formats_of_class(name: str) -> tuple[WeightFormat, ActivationFormat]:
    """Return the formats that a suite gives to every method in class ``channel`` or ``gN``.

    They are asymmetric on both sides (our choice): at 2 bits that grid is the better one for every
    method, and what zero points cost is counted. Raises BenchError for another name.
    """
    if name == "channel":
        return WeightFormat(symmetric=False), ActivationFormat()
    found = re.fullmatch(r"g([1-9][0-9]{0,6})", name)
    if found is None or int(found[1]) > MOST_GROUP:
        raise BenchError(f"no format class {shown(name)}: write channel, or g32 for groups of 32")
    group = int(found[1])
    return (
        WeightFormat(granularity="group", group=group, symmetric=False),
        ActivationFormat(granularity="token-group", group=group),
    )


def divisors(width: int) -> list[int]:
    """Return all divisors of ``width`` in ascending order."""
    return [n for n in range(1, width + 1) if width % n == 0]


def check_group(layer: str, width: int, group: int) -> None:
    """Raises BenchError where ``group`` does not divide a layer's input ``width``."""
    if width % group:
        valid = ", ".join(map(str, divisors(width)))
        raise BenchError(
            f"layer {layer}: group {group} does not divide its width {width}; valid: {valid}"
        )


def scale_count(out_features: int, in_features: int, fmt: WeightFormat, layer: str) -> int:
    """Return the number of scales of a weight (out, in). Raises BenchError as ``check_group``."""
    if fmt.granularity == "tensor":
        return 1
    if fmt.group is None:
        return out_features
    check_group(layer, in_features, fmt.group)
    return out_features * (in_features // fmt.group)
