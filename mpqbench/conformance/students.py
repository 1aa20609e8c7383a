"""The tiny DiT as a student at W3A3, with full precision's outputs for random inputs."""

from __future__ import annotations

from typing import Any

import torch

from ..contracts import LayerData
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Precision
from ..dit.groups import layer_groups, uniform_allocation
from ..dit.held_out import HeldOut
from ..quant.apply import quantize_model
from ..quant.build import GroupQuantizer
from ..tuning.checkpoint import Checkpoint
from ..tuning.student import DistillationData, QuantizedStudent
from ..tuning.trajectories import Trajectories
from .models import (
    TO_NEAREST,
    UNTOUCHED,
    ModelState,
    bytes_of_zeros,
    expect_bytes,
    tiny_transformer,
)

FORMATS: dict[str, Any] = {
    "weight_format": WeightFormat(symmetric=False),
    "activation_format": ActivationFormat(),
}
BATCH = 8
STEPS = 4  # that count as of one image


class SampleStudent:
    """A new student; quantized inside a ``with`` block of ``quantized``."""

    def __init__(self) -> None:
        self.model = lively_transformer()
        self.full_precision = ModelState(self.model)
        self.groups = layer_groups(self.model)
        self.allocation = uniform_allocation(self.groups, Precision(3, 3), Precision(8, 8))
        self.quantized = quantize_model(
            self.model,
            self.groups,
            self.allocation,
            GroupQuantizer(
                UNTOUCHED,
                TO_NEAREST,
                layer_data=lambda path: LayerData(path, 0, 0, seed=3),
                **FORMATS,
            ),
        )
        self.student = QuantizedStudent(self.quantized, self.groups)
        self.rounded = dict(self.student.rounded)

    def state(self) -> dict[str, torch.Tensor]:
        """Return a copy of every tensor of the model as it is now."""
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def error(self, data: DistillationData) -> float:
        """Return the mean squared error on the held-out inputs. Raises Diverged."""
        held = HeldOut(data.held_out.inputs, data.held_out.outputs)
        return float(held.mse(self.model, BATCH).mean())

    def expect_cost(self) -> None:
        """Expect the report to have the bytes of branches and real zero points."""
        zeros = sum(bytes_of_zeros(own) for own in self.student.rounded.values())
        expect_bytes(self.quantized, self.groups, self.allocation, FORMATS, zeros)


def sample_data() -> DistillationData:
    """Return random inputs with full precision's outputs; nothing is reported or saved."""
    teacher = lively_transformer()
    train, held_out = rows(teacher, 4 * BATCH, 1), rows(teacher, 3 * BATCH, 2)
    return DistillationData(train, held_out, 7, "cpu", Checkpoint())


def rows(transformer: Any, count: int, seed: int) -> Trajectories:
    """Return random inputs of a tiny transformer with its outputs."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, 4, 8, 8, generator=generator)
    times = torch.randint(0, 1000, (count,), generator=generator)
    classes = torch.randint(0, 4, (count,), generator=generator)
    signal = torch.rand(count, generator=generator)
    with torch.no_grad():
        outputs = transformer(latents, times, classes).sample
    images = torch.arange(count) // STEPS
    return Trajectories(latents, times, classes, images, signal, outputs)


def lively_transformer() -> Any:
    """Return a tiny DiT whose output depends on its blocks: that of a new one hardly does."""
    transformer = tiny_transformer()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return transformer
