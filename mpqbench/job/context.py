"""The context of a job, which all its stages receive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from .. import contracts
from ..contracts import LayerData
from ..core.errors import BenchError
from ..core.formats import check_group
from ..core.packages import check_package
from ..core.precision import Precision
from ..core.progress import Reporter
from ..core.protocol import Protocol
from ..core.recipe import FULL_PRECISION, SLOTS, Recipe
from ..core.registry import Registry
from ..core.suite import Job
from ..dit.architectures import architecture_of
from ..dit.blocks import BlockCall, block_calls
from ..dit.groups import Group, layer_groups, linear_layer
from ..dit.loading import DiTModel
from ..dit.recordings import Recordings
from ..dit.sampling import image_seed
from ..dit.statistics import StatisticsStore
from ..quant.activation import Clock, StepRanges
from ..quant.block import BlockInputs
from ..quant.build import GroupQuantizer
from ..search.budget_costs import parse_choices
from ..tuning.trajectories import KEPT_STEPS
from .resources import Resources

_KNOWN = ("inputs", "times", "moment", "step_maxima", "steps")


@dataclass(frozen=True)
class Plugins:
    """The plugins of a recipe, one for each slot."""

    transform: contracts.Transform
    rounding: contracts.Rounding
    branch: contracts.Branch
    searcher: contracts.Searcher
    objective: contracts.Objective
    environment: contracts.Environment
    tuner: contracts.Tuner
    correction: contracts.Correction

    @classmethod
    def of(cls, recipe: Recipe, registry: Registry) -> "Plugins":
        """Create the plugins. Raises BenchError for an unknown plugin and for wrong parameters."""
        return cls(**{slot: registry.create(slot, getattr(recipe, slot)) for slot in SLOTS})


def check_recipe(recipe: Recipe, protocol: Protocol, registry: Registry) -> None:
    """Raise BenchError as ``Plugins.of``, for a missing package and for a span that is too long."""
    try:
        plugins = Plugins.of(recipe, registry)
    except BenchError as error:
        raise BenchError(f"method '{recipe.name}': {error}") from error
    for slot in SLOTS:
        for package in getattr(plugins, slot).packages:
            name = getattr(recipe, slot).name
            check_package(package, f"method '{recipe.name}': {slot} '{name}'")
    for slot, is_apart in (
        ("tuner", recipe.tuner.name == "none"), ("rounding", not plugins.rounding.by_block)
    ):  # fmt: skip
        if plugins.branch is not None and plugins.branch.shared and not is_apart:
            raise BenchError(
                f"method '{recipe.name}': a shared branch takes no {slot} "
                f"'{getattr(recipe, slot).name}': write shared: false, or another {slot}"
            )
    for slot, span, most, what in (
        ("objective", plugins.objective.span, protocol.steps, "sampling steps"),
        ("objective", plugins.objective.span, protocol.calibration, "calibration inputs"),
        ("tuner", plugins.tuner.span, protocol.steps, "sampling steps"),
        ("tuner", plugins.tuner.span, KEPT_STEPS, "recorded steps of an image"),
    ):
        if span > most:
            raise BenchError(
                f"method '{recipe.name}': its {slot} has span {span}, and protocol "
                f"'{protocol.name}' has no more than {most} {what}"
            )


def check_groups(job: Job, transformer: nn.Module) -> None:
    """Raise BenchError where a scale group of the job's recipe does not divide a layer's width.

    And where the recipe quantizes attention products that cannot be quantized.
    """
    recipe, fixed = job.recipe, [Precision.parse(job.recipe.adaln)]
    if job.budget.is_unbounded:  # full precision, whatever the recipe
        return
    where = f"model '{job.model}', method '{recipe.name}'"
    if recipe.attention_bits is not None:
        try:
            architecture_of(transformer).quantized_attention(transformer)
        except BenchError as error:
            raise BenchError(f"{where}: {error}") from None
    choices = parse_choices(recipe.choices, job.budget) or [job.budget.precision]
    for group in layer_groups(transformer):
        for precision in choices if group.searchable else fixed:
            weight, activation = precision.formats(recipe.weight_format, recipe.activation_format)
            pairs = (weight.group, precision.weight), (activation.group, precision.activation)
            for size in {size for size, bits in pairs if bits is not None and size is not None}:
                path = group.layers[0]
                width = linear_layer(transformer, path).in_features
                try:
                    check_group(path, width, size)
                except BenchError as error:
                    raise BenchError(f"{where}: {error}") from None


@dataclass(frozen=True)
class CalibrationData:
    """What plugins may know of each layer: shape and seed, and statistics where one needs them."""

    model: DiTModel
    group_of: Mapping[str, Group]  # by path of the layer
    seed: int
    statistics: StatisticsStore | None = None
    static_ranges: Mapping[str, StepRanges] = field(default_factory=dict)

    def layer_data(self, path: str) -> LayerData:
        """Return what a plugin may know of the layer at ``path``."""
        layer: Any = self.model.transformer.get_submodule(path)
        seed = image_seed(self.seed, path, 0)
        data = LayerData(path, layer.in_features, layer.out_features, seed=seed)
        if self.statistics is None:
            return data
        seen, device = self.statistics.group(self.group_of[path]), layer.weight.device
        return replace(data, **{name: getattr(seen, name).to(device, copy=True) for name in _KNOWN})

    def block_inputs(self, block: int) -> BlockInputs:
        """Return the calibration inputs of a block. Raises BenchError without statistics."""
        if self.statistics is None:
            raise BenchError(f"block {block}: a rounding of whole blocks needs calibration inputs")
        inputs, transformer = self.statistics.calibration(), self.model.transformer
        latents = inputs.latents.to(transformer.device, transformer.dtype)
        times, classes = inputs.times.to(latents.device), inputs.classes.to(latents.device)
        rest = block_calls(transformer, latents, times, classes)[block].rest
        state = self.statistics.block_state(block)
        moved = {name: part.to(latents.device, copy=True) for name, part in state.items()}
        return BlockInputs(BlockCall(moved, rest), times)


@dataclass(frozen=True)
class JobContext:
    """A job with its model, its plugins and its calibration data.

    ``recipe`` is that of the job; a budget without any bound makes it full precision, in which no
    plugin does anything. The groups are those of the model in full precision. What methods see and
    draw comes from ``recordings``, by the realization; what is measured, images and held-out
    inputs, from ``measured``, by the seed.
    """

    job: Job
    recipe: Recipe
    plugins: Plugins
    model: DiTModel
    groups: Sequence[Group]
    calibration: CalibrationData
    recordings: Recordings
    measured: Recordings
    resources: Resources

    @classmethod
    def open(cls, job: Job, resources: Resources) -> "JobContext":
        """Load the model, which must not be quantized, and create the plugins."""
        recipe = FULL_PRECISION if job.budget.is_unbounded else job.recipe
        plugins, seen = Plugins.of(recipe, resources.registry), resources.recordings(job)
        measured, model = resources.measured(job), seen.model
        groups = layer_groups(model.transformer)
        group_of = {path: group for group in groups for path in group.layers}
        data = CalibrationData(model, group_of, job.realization)
        return cls(job, recipe, plugins, model, groups, data, seen, measured, resources)

    @property
    def reporter(self) -> Reporter:
        return self.resources.reporter

    @property
    def title(self) -> str:
        """Method and budget, for progress."""
        return f"{self.job.recipe.name} {self.job.budget}"

    def quantizer(self) -> GroupQuantizer:
        """Return what turns a group of layers into a quantized one, as the recipe says."""
        plugins, data, inputs = self.plugins, self.calibration, self.recipe.activation_format
        return GroupQuantizer(
            plugins.transform,
            plugins.rounding,
            self.recipe.weight_format,
            inputs,
            data.layer_data,
            data.static_ranges,
            Clock(inputs.time_groups),
            plugins.branch,
            data.block_inputs,
            self.recipe.attention_bits,
        )


def calibrate(context: JobContext) -> JobContext:
    """Return the context with statistics of calibration, where a plugin or a format needs them.

    The statistics are those of the unquantized model for every method: no layer is rounded on the
    outputs of the quantized layers before it (our choice, so that all methods share one pass).
    """
    plugins, data = context.plugins, context.calibration
    needed = any(p.needs_inputs for p in (plugins.transform, plugins.rounding, plugins.branch))
    static = context.recipe.activation_format.is_static
    if not (needed or static):
        return context
    statistics = context.recordings.statistics
    seen = {path: statistics.group(group) for path, group in data.group_of.items() if static}
    ranges = {path: StepRanges(s.steps, s.step_low, s.step_high) for path, s in seen.items()}
    data = replace(data, statistics=statistics, static_ranges=ranges)
    return replace(context, calibration=data)
