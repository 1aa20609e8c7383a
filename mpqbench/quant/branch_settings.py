"""Parameters that branches have in common."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from ..contracts import Branch, LayerData, plugin
from ..core.errors import BenchError

Grid = tuple[PositiveInt, PositiveInt]  # rows and columns of blocks
Share = Annotated[float, Field(gt=0, le=1)]
DEFAULT_RANK = 4  # where neither a size nor ``like_rank`` is given


@plugin
class BranchSettings(Branch):
    """How a branch is fitted and stored.

    ``iterations`` rounds at most of fitting and rounding in turn, from the ``init``: the "weight",
    or the "residual" of rounding it alone. ``bits``, 8 or 16, of what is stored and of both
    operands of every product: 8 are simulated, 16 are counted for floating point, which is
    computed in float32 as everywhere in the model. ``weighted``: fitted to the layer's output
    error, not to the weight.
    """

    iterations: PositiveInt = 10
    init: Literal["weight", "residual"] = "weight"
    bits: Literal[8, 16] = 16
    weighted: bool = False

    @property
    def needs_inputs(self) -> bool:
        """Where it is fitted to the output."""
        return self.weighted

    def moment(self, layer: LayerData) -> torch.Tensor | None:
        """What the fit is weighted by, if at all. Raises BenchError where it is missing."""
        if self.weighted and layer.moment is None:
            raise BenchError(f"layer {layer.name}: a weighted branch needs its moment")
        return layer.moment if self.weighted else None


def one_size(**given: object) -> None:
    """Raises BenchError where more than one of the parameters ``given`` sets the size."""
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise BenchError(f"a branch has one size: give {named[0]} or {named[1]}, not both")
