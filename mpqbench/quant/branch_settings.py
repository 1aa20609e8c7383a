"""Parameters that branches have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contracts import Branch, plugin
from ..core.errors import BenchError, check_whole
from .branch import BITS, INITS

if TYPE_CHECKING:
    import torch

    from ..contracts import LayerData

DEFAULT_RANK = 4  # where neither a size nor ``like_rank`` is given


@plugin
class BranchSettings(Branch):
    """How a branch is fitted and stored.

    ``iterations`` rounds at most of fitting and rounding in turn, from the ``init``: the "weight",
    or the "residual" of rounding it alone. ``bits``, 8 or 16, of what is stored and of both
    operands of every product: 8 are simulated, 16 are counted for floating point, which is
    computed in float32 as everywhere in the model. ``weighted``: fitted to the layer's output
    error, not to the weight.

    Raises BenchError for other values.
    """

    iterations: int = 10
    init: str = "weight"
    bits: int = 16
    weighted: bool = False

    def __post_init__(self) -> None:
        check_whole("iterations", self.iterations)
        if self.init not in INITS:
            raise BenchError(f"init must be one of {', '.join(INITS)}, not {self.init!r}")
        if self.bits not in BITS:
            raise BenchError(f"a branch has 8 or 16 bits, not {self.bits!r}")
        if not isinstance(self.weighted, bool):
            raise BenchError(f"weighted must be true or false, not {self.weighted!r}")

    @property
    def needs_inputs(self) -> bool:
        """Where it is fitted to the output."""
        return self.weighted

    def moment(self, layer: LayerData) -> torch.Tensor | None:
        """What the fit is weighted by, if at all. Raises BenchError where it is missing."""
        if self.weighted and layer.moment is None:
            raise BenchError(f"layer {layer.name}: a weighted branch needs its moment")
        return layer.moment if self.weighted else None


def check_pair(name: str, value: object) -> None:
    """Raises BenchError unless ``value`` is missing or two whole numbers of at least 1."""
    if value is None:
        return
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BenchError(f"{name} is a pair such as [4, 4], not {value!r}")
    for part in value:
        check_whole(name, part)


def one_size(**given: object) -> None:
    """Raises BenchError where more than one of the parameters ``given`` sets the size."""
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise BenchError(f"a branch has one size: give {named[0]} or {named[1]}, not both")
