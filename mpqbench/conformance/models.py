"""A tiny random DiT, in which plugins quantize, score and train."""

from typing import Any

import torch
from torch import nn

from ..contracts import LayerData
from ..core.errors import BenchError
from ..core.formats import PER_TOKEN, WeightFormat
from ..core.precision import Precision
from ..core.recipe import FULL_PRECISION
from ..core.registry import discover
from ..dit.blocks import BlockCall
from ..dit.calibration import CalibrationSet
from ..dit.groups import layer_groups, uniform_allocation
from ..dit.state import ModelState
from ..dit.zoo import CONFIGURATIONS
from ..quant.apply import quantize_model
from ..quant.block import BlockInputs
from ..quant.build import GroupQuantizer
from ..quant.verify import expect
from ..search.engine import Engine
from ..search.network import FullPrecision
from ..search.setup import EngineSettings
from .layers import STEPS, ordinary

WHERE = "a tiny DiT at W3A3"
FORMATS: dict[str, Any] = {
    "weight_format": WeightFormat(granularity="group", group=8, symmetric=False),
    "activation_format": PER_TOKEN,
}
CHOICES = tuple(Precision(*bits) for bits in ((2, 3), (4, 4), (2, 8), (8, 8)))
BASE = Precision(3, 3)
INPUTS, BATCH = 5, 3  # batches of 3 and 2


def tiny_transformer(device: str = "cpu") -> Any:
    """Return two blocks of width 16 in the shape of DiT-XL/2, always with the same weights."""
    from diffusers import DiTTransformer2DModel

    width = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2}
    changes = width | {"sample_size": 8, "num_embeds_ada_norm": 3}
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        model = DiTTransformer2DModel(**CONFIGURATIONS["dit-xl-2-256"] | changes)
    return model.eval().requires_grad_(False)


def random_inputs(count: int, seed: int) -> CalibrationSet:
    """Return random latents with times and classes, spread evenly."""
    latents = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    return CalibrationSet(latents, torch.arange(count) * (1000 // count), torch.arange(count) % 4)


def sample_quantizer(model: nn.Module, plugin: Any = None) -> GroupQuantizer:
    """Return a quantizer for ``model`` with plain plugins but for ``plugin``."""

    def layer_data(path: str) -> LayerData:
        layer: Any = model.get_submodule(path)
        return ordinary(layer.out_features, layer.in_features).data(needs_inputs=True)

    registry = discover()
    plain = {k: registry.create(k, getattr(FULL_PRECISION, k)) for k in ("transform", "rounding")}
    plugins = plain if plugin is None else plain | {plugin.kind: plugin}
    return GroupQuantizer(**plugins, **FORMATS, layer_data=layer_data, block_inputs=_block_inputs)


class SampleModel:
    """A model quantized at W3A3 inside a ``with`` block of ``quantized``."""

    def __init__(self, model: Any, plugin: Any = None) -> None:
        self.model = model
        self.full = ModelState(model, "network")
        self.groups = layer_groups(model)
        self.allocation = uniform_allocation(self.groups, Precision(3, 3), Precision(8, 8))
        quantizer = sample_quantizer(model, plugin)
        self.quantized = quantize_model(model, self.groups, self.allocation, quantizer)


def expect_restored(state: ModelState) -> None:
    """Expect the same modules and tensors, and no trace of training."""
    for change in state.changes():
        raise BenchError(f"after removal {change} is changed")
    expect_no_trace(state.network, "the network")


def expect_no_trace(root: nn.Module, name: str) -> None:
    """Expect no hook, no gradient and nothing to be trained in ``root``."""
    for path, module in root.named_modules():
        place = f"{path or 'all'} of {name}"
        hooks = module._forward_hooks or module._forward_pre_hooks
        expect(not hooks, f"a hook is left on {place}")
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        trained = any(each.requires_grad or each.grad is not None for each in tensors)
        expect(not trained, f"requires_grad or a gradient is left in {place}")


class SampleNetwork:
    """An engine on 5 random inputs over all time steps, or on two runs of ``span`` steps."""

    def __init__(self, span: int = 1) -> None:
        count, batch = (INPUTS, BATCH) if span == 1 else (2 * span, span)
        model, inputs = tiny_transformer(), random_inputs(count, 2)
        self._model, settings = ModelState(model, "network"), EngineSettings(batch=batch)
        quantizer = sample_quantizer(model)
        self.engine = Engine(model, layer_groups(model), quantizer, inputs, settings)
        self.network: Any = FullPrecision(self.engine, dict.fromkeys(self.engine.groups, CHOICES))
        self._weights = self._all_weights()

    def expect_unchanged(self) -> None:
        """Expect weights, modules and quantized weights of the network to be as they were."""
        for name, weight in self._all_weights().items():
            same = torch.equal(weight, self._weights[name])
            expect(same, f"the weight of {name} is changed")
        expect_restored(self._model)

    def _all_weights(self) -> dict[str, torch.Tensor]:
        found = {}
        for name, group in self.engine.searchable.items():
            found[name] = group.weight.clone()
            found |= {f"{name} at {p}": group.at(p).weight.clone() for p in (*CHOICES, BASE)}
        return found


def _block_inputs(block: int) -> BlockInputs:
    generator = torch.Generator().manual_seed(block)
    times = torch.tensor(STEPS).repeat_interleave(8)
    hidden = torch.randn(len(times), 16, 16, generator=generator)
    given = {"timestep": times, "class_labels": torch.arange(len(times)) % 3}
    return BlockInputs(BlockCall({"hidden_states": hidden}, given), times)
