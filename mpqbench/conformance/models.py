"""A tiny random DiT, quantized with a plugin and restored."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..contracts import Branch, FittedTransform, LayerData, QuantizedWeight, Rounding, Transform
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Precision
from ..cost.count import CountOptions, count
from ..cost.storage import SCALE_BYTES, packed_bytes
from ..dit.groups import Group, layer_groups, uniform_allocation
from ..quant.affine import quantize_weight
from ..quant.apply import QuantizedModel, quantize_model
from ..quant.block import BlockInputs
from ..quant.build import GroupQuantizer
from .check import expect, expect_tensor
from .layers import STEPS, ordinary

WHERE = "a tiny DiT at W4A4"
FORMATS: dict[str, Any] = {
    "weight_format": WeightFormat(granularity="group", group=8, symmetric=False),
    "activation_format": ActivationFormat(),
}


@dataclass
class _Untouched(Transform):
    macs_per_token: int = 0
    extra_bits: int = 0

    def fit(self, weight: torch.Tensor, layer: LayerData) -> FittedTransform:
        return self

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        return weight

    def input(self, x: torch.Tensor) -> torch.Tensor:
        return x


class _ToNearest(Rounding):
    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        return quantize_weight(weight, fmt, bits, layer.name)


UNTOUCHED, TO_NEAREST = _Untouched(), _ToNearest()


def tiny_transformer(device: str = "cpu") -> Any:
    """Return two blocks of width 16 in the shape of DiT-XL/2, always with the same weights."""
    from diffusers import DiTTransformer2DModel

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        model = DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            sample_size=8,
            num_embeds_ada_norm=3,
            norm_elementwise_affine=False,
        )
    return model.eval().requires_grad_(False)


def check_in_a_model(
    transform: Transform = UNTOUCHED,
    rounding: Rounding = TO_NEAREST,
    branch: Branch | None = None,
) -> None:
    """Quantize, run, count and restore; raise AssertionError where a result is wrong."""
    model = tiny_transformer()
    groups = layer_groups(model)
    allocation = uniform_allocation(groups, Precision(4, 4), Precision(8, 8))
    before, output = ModelState(model), _run(model)
    quantized = quantize_model(
        model,
        groups,
        allocation,
        GroupQuantizer(
            transform,
            rounding,
            branch=branch,
            layer_data=functools.partial(_layer_data, model),
            block_inputs=_block_inputs,
            **FORMATS,
        ),
    )
    with quantized:
        expect_tensor("the output of the model", _run(model), output.shape)
    before.expect_restored()
    expect_bytes(quantized, groups, allocation, FORMATS)


class ModelState:
    """The modules and tensors of a full-precision model, to be compared after quantization."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = {name: id(module) for name, module in model.named_modules()}
        self.tensors = {name: value.clone() for name, value in model.state_dict().items()}

    def expect_restored(self) -> None:
        """Expect the same modules and tensors, and no trace of training."""
        now = {name: id(module) for name, module in self.model.named_modules()}
        expect(now == self.modules, "after removal the model has other modules than before")
        for name, value in self.model.state_dict().items():
            same = torch.equal(value, self.tensors[name])
            expect(same, f"after removal {name} of the full-precision model is changed")
        expect(not self.model.training, "the network is left in training mode")
        expect_no_trace(self.model, "the network")


def expect_no_trace(root: nn.Module, name: str) -> None:
    """Expect no hook, no gradient and nothing to be trained in ``root``."""
    for path, module in root.named_modules():
        place = f"{path or 'all'} of {name}"
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        expect(not hooks, f"a hook is left on {place}")
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        trained = any(own.requires_grad or own.grad is not None for own in tensors)
        expect(not trained, f"requires_grad or a gradient is left in {place}")


def expect_bytes(
    quantized: QuantizedModel,
    groups: Sequence[Group],
    allocation: Any,
    formats: Mapping[str, Any],
    added: int = 0,
) -> None:
    """Expect the bytes of the report to be those of the format, what plugins store and ``added``.

    The model must be in full precision again.
    """
    own = quantized.transformer, groups, allocation
    plain = count(*own, CountOptions(**formats))
    options = CountOptions(**formats, storage=quantized.storage, extra=quantized.operators)
    report = count(*own, options)
    for group in groups:
        layers = [quantized.layers[path] for path in group.layers]
        added += math.ceil(layers[0].source.transform.extra_bits / 8)
        for size in (layer.branch.size for layer in layers if layer.branch is not None):
            added += math.ceil(size.numbers * size.bits / 8) + math.ceil(size.extra_bits / 8)
    expect(
        report.bytes == plain.bytes + added,
        f"the model is counted with {report.bytes} bytes, where the format takes {plain.bytes} and "
        f"plugins store {added} more",
    )


def bytes_of_zeros(weight: QuantizedWeight) -> int:
    """Return the bytes that zero points take in addition where they are no whole numbers."""
    zero, number = weight.zero, weight.zero.numel()
    whole = torch.equal(zero, zero.round())
    return 0 if whole else SCALE_BYTES * number - packed_bytes(number, weight.bits)


def _layer_data(model: nn.Module, path: str) -> LayerData:
    """Return synthetic calibration data; the harness adds the layer's name, widths and formats."""
    layer: Any = model.get_submodule(path)
    return ordinary(layer.out_features, layer.in_features).data(needs_inputs=True)


def _block_inputs(block: int) -> BlockInputs:
    generator = torch.Generator().manual_seed(block)
    times = torch.tensor(STEPS).repeat_interleave(8)
    hidden = torch.randn(len(times), 16, 16, generator=generator)
    return BlockInputs(hidden, times, torch.arange(len(times)) % 3)


def _run(model: nn.Module) -> torch.Tensor:
    """Return the output for two images."""
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(latents, torch.tensor([5, 900]), torch.tensor([0, 2])).sample
