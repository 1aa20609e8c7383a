"""Precision, allocation and budget."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import total_ordering
from typing import TYPE_CHECKING, Any

from .errors import BenchError, shown

if TYPE_CHECKING:
    from .formats import ActivationFormat, WeightFormat

FULL_BITS = 16  # what an operator in floating point counts in BitOPs and bytes
LOWEST, HIGHEST = 2, 8
_PATTERN = re.compile(r"W(\d+)A(\d+)(?:G0*([1-9]\d*))?(-)?", re.IGNORECASE | re.ASCII)
_BOUNDED = {"precision": "BitOPs", "megabytes": "bytes", "weight_bits": "weight bits"}
_BOUND = re.compile(
    r"(?P<precision>FP|W\d+A\d+)(?P<total>:total)?|"
    r"(?P<megabytes>\d{1,9}(?:\.\d{1,20})?)MB|(?P<weight_bits>\d{1,3}(?:\.\d{1,20})?)b",
    re.IGNORECASE | re.ASCII,
)


@total_ordering
@dataclass(frozen=True)
class Precision:
    """Weight bits and activation bits, printed ``W4A4``; ``None`` means floating point.

    16 and 32 bits also mean floating point and become ``None``. With a ``group``, printed
    ``W4A8g64``, weights have one scale for every 64 input columns and activations one per token and
    64 channels; without a group, the recipe's formats decide. A ``bare`` precision, printed
    ``W4A8-``, leaves out the recipe's branch. Precisions are ordered by bits, fewer first, then
    coarser groups first, then bare ones first.

    Raises BenchError for widths other than 2 to 8, 16 and 32, for a group of floating point, and
    for a bare precision whose weights are in floating point.
    """

    weight: int | None
    activation: int | None
    group: int | None = None
    bare: bool = False

    def __post_init__(self) -> None:
        for name in ("weight", "activation"):
            bits = getattr(self, name)
            if bits in (16, 32):
                object.__setattr__(self, name, None)
            elif bits is not None and not LOWEST <= bits <= HIGHEST:
                raise BenchError(
                    f"{name} bits must be {LOWEST} to {HIGHEST}, or 16 or 32 for floating point, "
                    f"not {bits}"
                )
        if self.group is not None and self.is_full:
            raise BenchError(
                f"floating point has no scales for groups of {self.group}: drop 'g{self.group}'"
            )
        if self.bare and self.weight is None:
            raise BenchError("weights in floating point have no branch to leave out: drop the '-'")

    @classmethod
    def parse(cls, text: str) -> Precision:
        """Parse ``W4A8``, ``W4A8g64`` or ``W4A8-``, or ``FP`` for floating point.

        Raises BenchError for anything else.
        """
        if str(text).upper() == "FP":
            return cls(None, None)
        match = _PATTERN.fullmatch(str(text).strip())  # YAML may have made a number of it
        if match is None:
            raise BenchError(
                f"{shown(str(text))} is not a precision: write W4A4, W4A8, W4A8g64, W4A8-, W16A8 "
                "or FP"
            )
        group = None if match[3] is None else int(match[3])
        return cls(int(match[1]), int(match[2]), group, match[4] is not None)

    @property
    def weight_bits(self) -> int:
        """Bits of a weight in the cost."""
        return FULL_BITS if self.weight is None else self.weight

    @property
    def activation_bits(self) -> int:
        """Bits of an activation in the cost."""
        return FULL_BITS if self.activation is None else self.activation

    @property
    def is_full(self) -> bool:
        """Whether neither weights nor activations are quantized."""
        return self.weight is None and self.activation is None

    @property
    def branched(self) -> bool:
        """Whether the recipe's branch, if any, is used."""
        return self.weight is not None and not self.bare

    def formats(
        self, weight: WeightFormat, activation: ActivationFormat
    ) -> tuple[WeightFormat, ActivationFormat]:
        """Return a recipe's formats, with the granularity of ``group`` where there is one."""
        if self.group is None:
            return weight, activation
        grouped = {"group": self.group, "granularity": "group"}
        by_token = {"group": self.group, "granularity": "token-group", "time_groups": 1}
        return weight.model_copy(update=grouped), activation.model_copy(update=by_token)

    def __lt__(self, other: Precision) -> bool:
        return self._rank < other._rank

    @property
    def _rank(self) -> tuple[int, int, float, bool]:
        coarseness = math.inf if self.group is None else self.group
        return self.weight_bits, self.activation_bits, -coarseness, not self.bare

    def __str__(self) -> str:
        if self.is_full:
            return "FP"
        group = "" if self.group is None else f"g{self.group}"
        return f"W{self.weight_bits}A{self.activation_bits}{group}{'-' if self.bare else ''}"


FULL = Precision(None, None)


class Allocation(Mapping[str, Precision]):
    """``{group: precision}`` for the whole model, immutable: the result of a search."""

    def __init__(self, items: Mapping[str, Precision]) -> None:
        self._items = dict(items)

    def __getitem__(self, group: str) -> Precision:
        return self._items[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._items.items(), key=lambda item: item[0])))

    def __repr__(self) -> str:
        return f"Allocation({self.to_json()})"

    def to_json(self) -> dict[str, str]:
        """Return plain ``{group: "W4A4"}``."""
        return {group: str(precision) for group, precision in self._items.items()}

    @classmethod
    def from_json(cls, items: Mapping[str, str]) -> Allocation:
        """Read what ``to_json`` returned."""
        return cls({group: Precision.parse(text) for group, text in items.items()})


@dataclass(frozen=True)
class Budget:
    """One or several upper bounds on cost, all of which must hold.

    ``W4A4``: no more BitOPs than uniform W4A4 over the searchable groups, as papers count them.
    ``W4A4:total``: no more BitOPs in total, overhead included, than uniform W4A4 of the plain
    recipe (see ``cost.count.budget_limit``). ``2.5MB``: no more than
    2.5 x 10^6 bytes for the whole stored model. ``3.5b``: no more than 3.5 bits per weight of the
    searchable groups on average. ``W4A4+2.5MB`` bounds both; ``FP`` bounds nothing. The harness,
    never the plugin, computes the cost that is compared with the budget.
    """

    precision: Precision
    megabytes: float | None = None
    weight_bits: float | None = None
    total: bool = False

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Parse terms joined by ``+``. Raises BenchError for anything else."""
        bounds: dict[str, Any] = {}
        for term in text.split("+"):
            match = _BOUND.fullmatch(term.strip())
            if match is None:
                raise BenchError(
                    f"budget {shown(text)}: {shown(term)} is not a bound: write W4A4, "
                    "W4A4:total, 2.5MB, 3.5b or FP; 'g64' and '-' are for the precision of a group"
                )
            kind = next(name for name in _BOUNDED if match[name] is not None)
            if kind in bounds:
                raise BenchError(
                    f"budget '{text}' bounds {_BOUNDED[kind]} twice: leave one bound out"
                )
            found = match[kind]
            bounds[kind] = Precision.parse(found) if kind == "precision" else float(found)
            if match["total"]:
                bounds["total"] = True
            if bounds[kind] == 0:
                raise BenchError(f"budget {shown(text)}: a bound must be greater than 0")
        if len(bounds) > 1 and bounds.get("precision") == FULL:  # with a total, too
            raise BenchError(f"budget '{text}': FP bounds nothing; leave FP out")
        return cls(**{"precision": FULL} | bounds)

    @property
    def bytes(self) -> float:
        """The bound in bytes, infinite where there is none; rounded, as products are not exact."""
        return math.inf if self.megabytes is None else round(self.megabytes * 1e6, 3)

    @property
    def is_unbounded(self) -> bool:
        """Whether there is no bound: the model stays in floating point."""
        return self.precision.is_full and self.megabytes is None and self.weight_bits is None

    def __str__(self) -> str:
        total = ":total" if self.total else ""
        terms = [] if self.precision.is_full else [f"{self.precision}{total}"]
        terms += [] if self.megabytes is None else [f"{_decimal(self.megabytes)}MB"]
        terms += [] if self.weight_bits is None else [f"{_decimal(self.weight_bits)}b"]
        return "+".join(terms) or str(FULL)


def _decimal(number: float) -> str:
    """Return all digits of a number without an exponent, as ``Budget.parse`` takes them."""
    text = f"{Decimal(str(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
