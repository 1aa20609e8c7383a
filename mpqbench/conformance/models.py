"""A plugin in a whole model: a tiny random DiT, quantized and put back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..contracts import Branch, FittedTransform, LayerData, QuantizedWeight, Rounding, Transform
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Precision
from ..cost.count import count
from ..cost.storage import SCALE_BYTES, packed_bytes
from ..dit.groups import Group, layer_groups, uniform_allocation
from ..quant.affine import quantize_weight
from ..quant.apply import QuantizedModel, quantize_model
from ..quant.block import BlockInputs
from ..quant.build import GroupQuantizer
from .check import attempt, expect
from .counting import macs_per_row
from .layers import STEPS

WHERE = "a tiny DiT at W4A4"
FORMATS = {
    "weight_format": WeightFormat(granularity="group", group=8, symmetric=False),
    "activation_format": ActivationFormat(),
}
IMAGES_PER_STEP = 8


@dataclass
class _Untouched(Transform):
    """The control of a transform."""

    needs_inputs = False
    macs_per_token: int = 0
    extra_bits: int = 0

    def fit(self, weight: torch.Tensor, layer: LayerData) -> FittedTransform:
        return self

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        return weight

    def input(self, x: torch.Tensor) -> torch.Tensor:
        return x


@dataclass(frozen=True)
class _ToNearest(Rounding):
    """The control of a rounding."""

    needs_inputs = False

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        return quantize_weight(weight, fmt, bits, layer.name)


UNTOUCHED, TO_NEAREST = _Untouched(), _ToNearest()


def tiny_transformer(device: str = "cpu") -> Any:
    """Two blocks of width 16 in the shape of DiT-XL/2, always with the same random weights."""
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
    """Quantize, run, count, remove; AssertionError where a number or a trace is not right."""
    model = tiny_transformer()
    groups = layer_groups(model)
    allocation = uniform_allocation(groups, Precision(4, 4), Precision(8, 8))
    known = Calibration(model, groups)
    needs = any(getattr(plugin, "needs_inputs", False) for plugin in (transform, rounding, branch))
    before = _run(model)
    modules = dict(model.named_modules())
    state = {key: value.clone() for key, value in model.state_dict().items()}

    quantized: QuantizedModel = attempt(
        WHERE,
        "quantize_model",
        lambda: quantize_model(
            model,
            groups,
            allocation,
            GroupQuantizer(
                transform,
                rounding,
                branch=branch,
                layer_data=known.layer if needs else known.without_inputs,
                **FORMATS,  # type: ignore[arg-type]
            ),
            block_inputs=known.block,
        ),
    )
    with quantized:
        output = _run(model)
        expect(output.isfinite().all(), f"{WHERE}: the output of the model is not finite")

    same = {name: id(module) for name, module in model.named_modules()}
    expect(
        same == {name: id(module) for name, module in modules.items()},
        f"{WHERE}: after removal the modules are not the ones from before",
    )
    for key, value in model.state_dict().items():
        expect(torch.equal(value, state[key]), f"{WHERE}: after removal {key} has changed")
    expect(torch.equal(_run(model), before), f"{WHERE}: after removal the output has changed")
    expect_cost(WHERE, model, groups, allocation, quantized, FORMATS)


def expect_plain(model: nn.Module, where: object) -> None:
    """No hook and no gradient is left."""
    for name, module in model.named_modules():
        place = name or "the network"
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        expect(not hooks, f"{where}: it leaves a hook on {place}")
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        learns = any(tensor.requires_grad for tensor in tensors)
        expect(not learns, f"{where}: it leaves requires_grad set in {place}")
        kept = any(tensor.grad is not None for tensor in tensors)
        expect(not kept, f"{where}: it leaves a gradient in {place}")


def expect_cost(
    where: object,
    model: nn.Module,
    groups: Sequence[Group],
    allocation: Any,
    quantized: QuantizedModel,
    formats: Mapping[str, Any],
    rounded: Mapping[str, QuantizedWeight] | None = None,
) -> None:
    """What the report adds to a plainly quantized model is what the layers do and store.

    ``rounded`` are weights by path whose zero points may be real numbers: 2 bytes each.
    """
    plain = count(model, groups, allocation, **formats)
    report = count(
        model, groups, allocation, storage=quantized.storage, extra=quantized.operators, **formats
    )
    symmetric = formats["weight_format"].symmetric
    extra_bytes = sum(_more_for_zeros(own, symmetric) for own in (rounded or {}).values())
    executed = 0.0
    for group in groups:
        fitted = quantized.layers[group.layers[0]].transform
        rows = torch.ones(64, quantized.layers[group.layers[0]].in_features)
        extra_bytes += math.ceil(fitted.extra_bits / 8)
        executed += macs_per_row(fitted.input, rows) * group.tokens
        for branch in (quantized.layers[path].branch for path in group.layers):
            if branch is not None:
                size = branch.size
                extra_bytes += math.ceil(size.numbers * size.bits / 8)
                extra_bytes += math.ceil(size.extra_bits / 8)
                executed += macs_per_row(branch, rows, products_only=True) * group.tokens
    expect(
        report.bytes == plain.bytes + extra_bytes,
        f"{where}: it takes {report.bytes} bytes, where the format takes {plain.bytes} and "
        f"transforms, branches and real zero points {extra_bytes}",
    )
    added = report.macs - plain.macs
    expect(
        executed <= added <= 2 * executed,
        f"{where}: transforms and branches add {added} MACs to the report and execute {executed:g}",
    )


def _more_for_zeros(weight: QuantizedWeight, symmetric: bool) -> int:
    """Bytes of zero points beyond those of the format."""
    zero, count = weight.zero, weight.zero.numel()
    packed = packed_bytes(count, weight.bits)
    planned = 0 if symmetric else packed
    if bool((zero != zero.round()).any()):
        return SCALE_BYTES * count - planned
    return packed - planned if zero.any() else 0


class Calibration:
    """Inputs of all layers and blocks from one run of ``model`` over four time steps."""

    def __init__(self, model: nn.Module, groups: Sequence[Group]) -> None:
        self._seen: dict[str, torch.Tensor] = {}
        blocks = {f"transformer_blocks.{group.block}" for group in groups}
        layers = {path for group in groups for path in group.layers}
        hooks = [
            model.get_submodule(path).register_forward_pre_hook(self._keep(path))
            for path in (*blocks, *layers)
        ]
        images = IMAGES_PER_STEP * len(STEPS)
        self._times = torch.tensor(STEPS).repeat_interleave(IMAGES_PER_STEP)
        self._classes = torch.arange(images) % 3
        _run(model, self._times, self._classes)
        for hook in hooks:
            hook.remove()

    def without_inputs(self, path: str) -> LayerData:
        """For plugins that need none; the harness fills in name, widths and formats."""
        return LayerData(path, 0, 0, seed=3)

    def layer(self, path: str) -> LayerData:
        """The layer at ``path`` with everything the harness would say."""
        seen = self._seen[path]
        by_step = seen.reshape(len(STEPS), -1, seen.shape[-1])
        rows = by_step.flatten(0, 1)
        return LayerData(
            path,
            0,
            0,
            seed=3,
            inputs=rows.clone(),
            times=torch.tensor(STEPS).repeat_interleave(by_step.shape[1]),
            moment=rows.T @ rows / len(rows),
            step_maxima=by_step.abs().amax(1),
            steps=torch.tensor(STEPS),
        )

    def block(self, number: int) -> BlockInputs:
        """Inputs of a block, for roundings that see blocks."""
        return BlockInputs(
            self._seen[f"transformer_blocks.{number}"].clone(), self._times, self._classes
        )

    def _keep(self, path: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._seen[path] = arguments[0].detach().clone()

        return hook


def _run(
    model: nn.Module,
    times: torch.Tensor | None = None,
    classes: torch.Tensor | None = None,
) -> torch.Tensor:
    """Output of two images, or of as many as there are ``times``."""
    times = torch.tensor([5, 900]) if times is None else times
    classes = torch.tensor([0, 2]) if classes is None else classes
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(len(times), 4, 8, 8, generator=generator)
    with torch.no_grad():
        return model(latents, timestep=times, class_labels=classes).sample
