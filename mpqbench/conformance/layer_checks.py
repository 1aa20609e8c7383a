"""What is checked of transforms, roundings and branches alike."""

import functools
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import torch

from ..contracts import LayerData
from ..cost.count import CountOptions, count
from ..dit.calibration import evaluate
from ..quant.verify import expect, expect_tensor
from .check import expect_repeatable
from .layers import SampleLayer
from .models import FORMATS, SampleModel, expect_restored, random_inputs, tiny_transformer

Tensors = dict[str, torch.Tensor]  # by name


class LayerChecks(ABC):
    """The checks of a plugin that works on one layer.

    ``call`` calls the plugin, and ``tensors`` gives the tensors of what the plugin made, by name.
    """

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin
        self.made = functools.cache(self.make)

    def call(self, weight: torch.Tensor, layer: LayerData) -> Any:
        return self.plugin.fit(weight, layer)

    @abstractmethod
    def tensors(self, made: Any, weight: torch.Tensor, x: torch.Tensor) -> Tensors: ...

    def make(self, layer: SampleLayer, seed: int = 7) -> Any:
        """Return what the plugin makes of ``layer``."""
        with torch.no_grad():
            return self.call(layer.weight.clone(), layer.data(self.plugin.needs_inputs, seed))

    def repeatable(self, layer: SampleLayer) -> None:
        """One layer and seed give one result; arguments and global generators are left alone."""

        def run(weight: torch.Tensor, layer: LayerData, x: torch.Tensor) -> list[torch.Tensor]:
            return list(self.tensors(self.call(weight, layer), weight, x).values())

        data, x = layer.data(self.plugin.needs_inputs), layer.inputs.clone()
        expect_repeatable("layer.seed", run, weight=layer.weight.clone(), layer=data, x=x)

    def model(self, _: str) -> None:
        """A quantized model works, has the format that was asked for, and can be restored."""
        sample = SampleModel(tiny_transformer(), self.plugin)
        with sample.quantized:
            output = evaluate(sample.model, random_inputs(2, 1), 2)
        expect_tensor("the output of the model", output, (2, 8, 8, 8))
        expect_restored(sample.full)
        counted = sample.model, sample.groups, sample.allocation
        parts = CountOptions(**FORMATS)
        known = count(*counted, parts).bytes
        made = count(*counted, replace(parts, storage=sample.quantized.storage)).bytes
        expect(made == known, f"the weights take {made} bytes; the format takes {known}")
