"""The tiny DiT as a student: quantized, with what full precision makes of random inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..contracts import Branch, BranchSize, FittedBranch, LayerData
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Allocation, Precision
from ..dit.groups import Group, layer_groups, uniform_allocation
from ..dit.held_out import HeldOut
from ..quant.apply import quantize_model
from ..quant.build import GroupQuantizer
from ..quant.factors import BlockPartition, project
from ..tuning.checkpoint import Checkpoint
from ..tuning.student import DistillationData, QuantizedStudent
from ..tuning.trajectories import Trajectories
from .check import expect
from .models import TO_NEAREST, UNTOUCHED, expect_cost, expect_plain, tiny_transformer

LEARNED, JUDGED = 32, 24  # inputs
STEPS = 4  # that count as of one image
SAME = 1e-5


@dataclass(frozen=True)
class _RankOne(Branch):
    """The control of a branch: rank 1 at 8 bits."""

    needs_inputs = False

    def size(self, out_features: int, in_features: int) -> BranchSize:
        return BlockPartition(out_features, in_features).size(8)

    def fit(self, target: torch.Tensor, layer: LayerData) -> FittedBranch:
        return project(target, BlockPartition(*target.shape), 8)


@dataclass(frozen=True)
class Case:
    """How a student is quantized; ``last`` is the precision of its last searchable group."""

    name: str
    weight_format: WeightFormat
    precision: Precision
    last: Precision
    branch: Branch | None = None

    def allocation(self, groups: list[Group]) -> Allocation:
        """Precisions of all groups, adaLN at W8A8."""
        found = dict(uniform_allocation(groups, self.precision, Precision(8, 8)))
        found[[group.name for group in groups if group.searchable][-1]] = self.last
        return Allocation(found)

    def __str__(self) -> str:
        return f"a tiny DiT at {self.name}"


W3A3 = Precision(3, 3)
CASES = (
    Case("W3A3", WeightFormat(symmetric=False), W3A3, W3A3),
    Case(
        "W2A4 in groups beside branches, one layer at WFPA4",
        WeightFormat(granularity="group", group=8),
        Precision(2, 4),
        Precision(None, 4),
        _RankOne(),
    ),
)


class Pupil:
    """A new student of ``case``; quantized inside a ``with`` block of ``quantized``."""

    def __init__(self, case: Case) -> None:
        self.case, self.model = case, lively_transformer()
        self._own = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._modules = {name: id(module) for name, module in self.model.named_modules()}
        self.groups = layer_groups(self.model)
        self._allocation = case.allocation(self.groups)
        self._formats: dict[str, Any] = {
            "weight_format": case.weight_format,
            "activation_format": ActivationFormat(),
        }
        self.quantized = quantize_model(
            self.model,
            self.groups,
            self._allocation,
            GroupQuantizer(
                UNTOUCHED,
                TO_NEAREST,
                branch=case.branch,
                layer_data=lambda path: LayerData(path, 0, 0, seed=3),
                **self._formats,
            ),
        )
        self.student = QuantizedStudent(self.quantized, self.groups)
        self.rounded = dict(self.student.rounded)
        self._operators = self.quantized.operators

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of every tensor of the student."""
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def expect_plain(self) -> None:
        """While quantized: no trace of training, and what was full precision still is."""
        self._expect_no_trace()
        for name, value in self.model.state_dict().items():
            inside = any(name.startswith(f"{path}.") for path in self.student.layers)
            same = inside or (name in self._own and torch.equal(value, self._own[name]))
            expect(same, f"{self.case}: it changes {name}, which is the full-precision model's own")

    def expect_removed(self) -> None:
        """After removal the model is the one from before."""
        self._expect_no_trace()
        modules = {name: id(module) for name, module in self.model.named_modules()}
        expect(modules == self._modules, f"{self.case}: after removal modules are others")
        for name, value in self.model.state_dict().items():
            same = torch.equal(value, self._own[name])
            expect(same, f"{self.case}: after removal {name} of the full-precision model differs")

    def expect_cost(self) -> None:
        """The report has what branches and zero points of the student take."""
        expect_cost(
            self.case, self.model, self.groups, self._allocation, self.quantized, self._formats,
            self.student.rounded,
        )  # fmt: skip

    def expect_untouched(self, before: dict[str, torch.Tensor]) -> None:
        """Tensors are those of ``before``, integers, grids and branches the first ones."""
        for name, value in self.state().items():
            same = name in before and torch.equal(value, before[name])
            expect(same, f"{self.case}: it asks for no trajectories and changes {name}")
        kept = all(self.student.rounded[path] is own for path, own in self.rounded.items())
        noted = kept and self.quantized.operators == self._operators
        expect(noted, f"{self.case}: it asks for no trajectories and changes what is counted")

    def _expect_no_trace(self) -> None:
        expect_plain(self.model, self.case)
        for name in self._modules:  # those of a branch that is new have no such mode
            learns = self.model.get_submodule(name).training
            expect(not learns, f"{self.case}: it leaves {name or 'the network'} in training mode")


def lessons_for(case: Case) -> DistillationData:
    """Random inputs with what full precision makes of them; nothing is reported or saved."""
    teacher = lively_transformer()
    return DistillationData(
        rows(teacher, LEARNED, 1), rows(teacher, JUDGED, 2), 7, "cpu", Checkpoint()
    )


def held_out_error(pupil: Pupil, lessons: DistillationData, batch: int = JUDGED) -> float:
    """Mean squared error of the student on the held-out inputs, ``batch`` at a time.

    Sums of other lengths are rounded otherwise, and a number on the border of two steps of a
    quantizer then falls to the other side. Raises Diverged.
    """
    held = HeldOut(lessons.held_out.inputs, lessons.held_out.outputs)
    return float(held.mse(pupil.model, batch).mean())


def rows(transformer: Any, count: int, seed: int) -> Trajectories:
    """Random inputs of a tiny transformer with what it makes of them."""
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
    """A tiny DiT whose output depends on its blocks: that of a new one hardly does."""
    transformer = tiny_transformer()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return transformer
