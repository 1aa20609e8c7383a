"""ENG, environmental noise guidance: how strongly the layers outside the test are perturbed."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field

from mpqbench.contracts import Environment, GroupAtPrecision, QuantizableGroup, plugin
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Precision

Layer = Callable[[torch.Tensor], torch.Tensor]


@plugin
class EnvironmentalNoise(Environment):
    """Scales the quantization error of the layers outside the groups under test (TreeQ).

    ``noise`` is lambda in [0, 1]. At 1 the other layers are quantized to the base precision of the
    budget, as they will be after post-training quantization; towards 0 their error vanishes, as if
    training had repaired it. The abstract of arXiv 2512.06353 names the idea without a formula; the
    variants are our choice:

    - ``output``: ``y + noise (y_q - y)`` with ``y_q`` the quantized layer on the same input;
    - ``weight``: weight and input are interpolated between their exact and their rounded values,
      branches stay whole;
    - ``gaussian``: ``y`` plus independent noise, ``noise`` times as large as ``y_q - y`` is.

    ``base`` takes the place of the budget's precision, e.g. ``W4A4``.
    """

    noise: Annotated[float, Field(ge=0, le=1)] = 1.0
    variant: Literal["output", "weight", "gaussian"] = "output"
    base: str | None = None

    def __post_init__(self) -> None:
        if self.base is not None:
            Precision.parse(self.base)

    def layer(self, group: QuantizableGroup, base: Precision, inputs: int, seed: int) -> Layer:
        """Return the perturbed layers of ``group``."""
        precision = base if self.base is None else Precision.parse(self.base)
        if self.noise == 0:
            return group.full
        if precision.is_full:
            raise BenchError("the budget names no precision: give 'eng' a base, e.g. base: W4A4")
        quantized = group.at(precision)
        if self.variant == "weight":
            return self._between_weights(quantized)
        if self.variant == "gaussian":
            return self._gaussian(group, quantized, inputs, seed)
        if self.noise == 1:
            return quantized
        return lambda x: torch.lerp(group.full(x), quantized(x), self.noise)

    def _between_weights(self, quantized: GroupAtPrecision) -> Layer:
        rounded, bias = quantized.weight, quantized.bias
        weight = torch.lerp(quantized.unrounded_weight.to(rounded.dtype), rounded, self.noise)

        def layer(x: torch.Tensor) -> torch.Tensor:
            moved = quantized.source.transform.input(x.float())
            mixed = torch.lerp(moved, quantized.source(x), self.noise)
            output = F.linear(mixed.to(weight.dtype), weight, bias)
            return output + quantized.branch_output(moved).to(output)

        return layer

    def _gaussian(
        self, group: QuantizableGroup, quantized: GroupAtPrecision, inputs: int, seed: int
    ) -> Layer:
        drawn: list[torch.Tensor] = []

        def layer(x: torch.Tensor) -> torch.Tensor:
            output = group.full(x)
            if not drawn:  # the first call is the environment itself: its error sets the size
                size = (quantized(x) - output).float().square().mean().sqrt()
                generator = torch.Generator().manual_seed(seed)
                shape = (inputs, *output.shape[1:])
                noise = torch.randn(shape, generator=generator).to(output.device)
                drawn.append((self.noise * size * noise).to(output.dtype))
            shares = output.view(-1, inputs, *output.shape[1:])
            return (shares + drawn[0]).view(output.shape)

        return layer
