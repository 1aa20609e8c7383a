"""Precision, allocation and budget: the words every other module speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .errors import BenchError

FULL_BITS = 16  # what an operator in floating point counts in BitOPs and bytes
LOWEST, HIGHEST = 2, 8
_PATTERN = re.compile(r"W(\d+)A(\d+)", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Precision:
    """(weight bits, activation bits), printed ``W4A4``; ``None`` means not quantized.

    16 and 32 bits also mean floating point and are kept as ``None``. Raises BenchError for
    widths other than 2 to 8, 16 and 32.
    """

    weight: int | None
    activation: int | None

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

    @classmethod
    def parse(cls, text: str) -> Precision:
        """``W4A8`` to a precision; ``FP`` to floating point. Raises BenchError otherwise."""
        if text.upper() == "FP":
            return cls(None, None)
        match = _PATTERN.fullmatch(text.strip())
        if match is None:
            raise BenchError(f"'{text}' is not a precision: write W4A4, W4A8, W16A8 or FP")
        return cls(int(match[1]), int(match[2]))

    @property
    def weight_bits(self) -> int:
        """Bits a weight counts in the cost."""
        return FULL_BITS if self.weight is None else self.weight

    @property
    def activation_bits(self) -> int:
        """Bits an activation counts in the cost."""
        return FULL_BITS if self.activation is None else self.activation

    @property
    def is_full(self) -> bool:
        """Whether nothing is quantized."""
        return self.weight is None and self.activation is None

    def __str__(self) -> str:
        return "FP" if self.is_full else f"W{self.weight_bits}A{self.activation_bits}"


FULL = Precision(None, None)


class Allocation(Mapping[str, Precision]):
    """``{group: precision}`` for the whole model, immutable: the product of a search."""

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
        """Plain ``{group: "W4A4"}``."""
        return {group: str(precision) for group, precision in self._items.items()}

    @classmethod
    def from_json(cls, items: Mapping[str, str]) -> Allocation:
        """Inverse of ``to_json``."""
        return cls({group: Precision.parse(text) for group, text in items.items()})


@dataclass(frozen=True)
class Budget:
    """An upper bound on cost, named by the uniform precision that costs as much.

    ``W4A4`` reads "no more BitOPs than uniform W4A4 over the searchable groups"; ``FP`` sets no
    bound. The harness computes what was achieved, never the plugin.
    """

    precision: Precision

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget from ``W4A4`` or ``FP``. Raises BenchError otherwise."""
        return cls(Precision.parse(text))

    def __str__(self) -> str:
        return str(self.precision)
