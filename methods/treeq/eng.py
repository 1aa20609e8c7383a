"""ENG, environmental noise guidance: how strongly the layers outside the test are perturbed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from mpqbench.contracts import Environment, plugin
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Precision

if TYPE_CHECKING:
    from mpqbench.contracts import GroupForm, QuantizableGroup

Layer = Callable[[torch.Tensor], torch.Tensor]
VARIANTS = ("output", "weight", "gaussian")


@plugin
class EnvironmentalNoise(Environment):
    """One number says how much of their quantization error the other layers make (TreeQ).

    ``noise`` is lambda in [0, 1]. At 1 they are quantized to the budget's base precision, as they
    will be after post-training quantization; towards 0 they are repaired, as quantization-aware
    training will do. The abstract of arXiv 2512.06353 names the idea without a formula; the
    variants are our choice:

    - ``output``: ``y + noise (y_q - y)`` with ``y_q`` the quantized layer on the same input;
    - ``weight``: weight and input each go that share of the way to their rounded values, branches
      stay whole;
    - ``gaussian``: ``y`` plus independent noise, ``noise`` times as large as ``y_q - y`` is.

    ``base`` takes the place of the budget's precision, e.g. ``W4A4``.
    """

    noise: float = 1.0
    variant: str = "output"
    base: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise BenchError(f"noise lies between 0 and 1, not {self.noise}")
        if self.variant not in VARIANTS:
            raise BenchError(f"variant is one of {', '.join(VARIANTS)}, not '{self.variant}'")
        if self.base is not None:
            Precision.parse(self.base)

    def layer(self, group: QuantizableGroup, base: Precision, inputs: int, seed: int) -> Layer:
        """The perturbed layers of ``group``."""
        precision = base if self.base is None else Precision.parse(self.base)
        if self.noise == 0:
            return group.full
        if precision.is_full:
            raise BenchError("the budget names no precision: give 'eng' a base, e.g. base: W4A4")
        form = group.at(precision)
        if self.variant == "weight":
            return self._between_weights(form)
        if self.variant == "gaussian":
            return self._gaussian(group, form, inputs, seed)
        return form if self.noise == 1 else self._between_outputs(group, form)

    def _between_outputs(self, group: QuantizableGroup, form: GroupForm) -> Layer:
        return lambda x: torch.lerp(group.full(x), form(x), self.noise)

    def _between_weights(self, form: GroupForm) -> Layer:
        weight = torch.lerp(form.unrounded_weight.to(form.weight.dtype), form.weight, self.noise)

        def layer(x: torch.Tensor) -> torch.Tensor:
            moved, quantized = form.source.transform.input(x.float()), form.source(x)
            mixed = torch.lerp(moved, quantized, self.noise)
            output = F.linear(mixed.to(weight.dtype), weight, form.bias)
            return output + form.branch_output(moved).to(output)

        return layer

    def _gaussian(self, group: QuantizableGroup, form: GroupForm, inputs: int, seed: int) -> Layer:
        drawn: list[torch.Tensor] = []

        def layer(x: torch.Tensor) -> torch.Tensor:
            output = group.full(x)
            if not drawn:  # the first to come is the environment itself: its error is the measure
                size = (form(x) - output).float().square().mean().sqrt()
                generator = torch.Generator().manual_seed(seed)
                shape = (inputs, *output.shape[1:])
                noise = torch.randn(shape, generator=generator).to(output.device)
                drawn.append((self.noise * size * noise).to(output.dtype))
            shares = output.view(-1, inputs, *output.shape[1:])
            return (shares + drawn[0]).view(output.shape)

        return layer
