"""The tiny DiT quantized with plain plugins, unless a test asks for others."""

import torch

from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.transforms.none import NoTransform
from mpqbench.contracts import LayerData, Operations, Transform, TransformSize
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.dit.calibration import CalibrationSet
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.quant.activation import Clock
from mpqbench.quant.apply import QuantizedModel, quantize_model
from mpqbench.quant.build import GroupQuantizer

W4A4, W8A8 = Precision(4, 4), Precision(8, 8)
FORMATS = {"weight_format": WeightFormat(), "activation_format": ActivationFormat()}


class Scaled(Transform):
    """Weight times four and input divided by four, exactly."""

    def size(self, name, in_features):
        return TransformSize(smoothing=Operations(in_features), extra_bits=20)

    def fit(self, weight, layer):
        return self

    def weight(self, weight):
        return weight * 4

    def input(self, x):
        return x / 4


def quantizer(**changes) -> GroupQuantizer:
    """A quantizer to nearest, without transform and branch; its clock is that of its format."""
    plain = {"transform": NoTransform(), "rounding": Nearest(), **FORMATS}
    plain["layer_data"] = lambda path: LayerData(path, 0, 0, seed=3)
    own = plain | changes
    own.setdefault("clock", Clock(own["activation_format"].time_groups))
    return GroupQuantizer(**own)


def quantized(model, precision=W4A4, adaln=W8A8, given=None, changes=None, **settings):
    """``model`` quantized: uniform at ``precision``, but for the groups in ``changes``.

    ``settings`` are those of ``quantizer``, or a quantizer is ``given``.
    """
    groups = layer_groups(model)
    allocation = dict(uniform_allocation(groups, precision, adaln)) | (changes or {})
    own = quantizer(**settings) if given is None else given
    made: QuantizedModel = quantize_model(model, groups, allocation, own)
    return made


def calibration(count=6) -> CalibrationSet:
    """Random inputs over all time steps."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(count, 4, 8, 8, generator=generator)
    return CalibrationSet(latents, torch.arange(count) * 150, torch.arange(count) % 4)


def output(model, inputs=None) -> torch.Tensor:
    """The output of ``model`` on ``calibration``, or on other inputs."""
    inputs = inputs or calibration()
    latents = inputs.latents.to(next(model.parameters()).dtype)
    with torch.inference_mode():
        return model(latents, inputs.times, inputs.classes).sample


def errors(model, exact, inputs=None):
    """Mean squared differences of the output from ``exact``: (inputs,) float64."""
    return (output(model, inputs) - exact).double().square().flatten(1).mean(1).numpy()


def snapshot(model):
    """The identity of every module and a copy of every tensor."""
    modules = {name: id(module) for name, module in model.named_modules()}
    return modules, {key: value.clone() for key, value in model.state_dict().items()}


def assert_untouched(model, before) -> None:
    """Modules and tensors of ``model`` are those of the snapshot ``before``."""
    modules, state = before
    assert {name: id(module) for name, module in model.named_modules()} == modules
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
