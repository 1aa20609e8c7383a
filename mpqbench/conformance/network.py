"""The tiny DiT in the engine that scores allocations, for objectives and environments."""

from __future__ import annotations

from typing import Any

import torch

from ..contracts import LayerData
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Precision
from ..dit.calibration import CalibrationSet
from ..dit.groups import layer_groups
from ..quant.build import GroupQuantizer
from ..search.engine import Engine
from ..search.network import FullPrecision
from ..search.setup import EngineSettings
from .check import expect
from .models import TO_NEAREST, UNTOUCHED, ModelState, tiny_transformer

CHOICES = tuple(Precision(*bits) for bits in ((2, 3), (4, 4), (2, 8), (8, 8)))
COARSE, FINE = CHOICES[0], CHOICES[-1]
BASE = Precision(3, 3)
INPUTS, BATCH = 5, 3  # batches of 3 and 2


class SampleNetwork:
    """An engine on 5 random inputs over all time steps, or on two runs of ``span`` steps."""

    def __init__(self, span: int = 1) -> None:
        inputs, batch = (INPUTS, BATCH) if span == 1 else (2 * span, span)
        generator = torch.Generator().manual_seed(2)
        latents = torch.randn(inputs, 4, 8, 8, generator=generator)
        times = torch.arange(inputs) * (1000 // inputs)
        model = tiny_transformer()
        quantizer = GroupQuantizer(
            transform=UNTOUCHED,
            rounding=TO_NEAREST,
            weight_format=WeightFormat(),
            activation_format=ActivationFormat(),
            layer_data=lambda path: LayerData(path, 0, 0, seed=3),
        )
        self.engine: Engine = Engine(
            model,
            layer_groups(model),
            quantizer,
            CalibrationSet(latents, times, torch.arange(inputs) % 4),
            EngineSettings(batch=batch),
        )
        self.network: Any = FullPrecision(self.engine, dict.fromkeys(self.engine.groups, CHOICES))
        self._model = ModelState(model)
        self._weights = self._all_weights()

    def expect_unchanged(self) -> None:
        """Expect weights, modules and quantized weights of the network to be as they were."""
        for name, weight in self._all_weights().items():
            same = torch.equal(weight, self._weights[name])
            expect(same, f"the weight of {name} is changed")
        self._model.expect_restored()

    def _all_weights(self) -> dict[str, torch.Tensor]:
        found = {}
        for name, group in self.engine.searchable.items():
            found[name] = group.weight.clone()
            found |= {f"{name} at {p}": group.at(p).weight.clone() for p in (*CHOICES, BASE)}
        return found
