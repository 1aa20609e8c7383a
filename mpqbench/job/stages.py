"""The stages of a job: what each takes from the job, and what it gives to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np

from ..contracts import LayerData
from ..core.precision import Allocation
from ..core.progress import Advance, Reporter
from ..core.recipe import Job
from ..cost.count import CostReport, count
from ..dit.groups import Group
from ..dit.loading import DiTModel, skeleton
from ..dit.sampling import image_seed
from ..metrics.fidelity import Fidelity
from ..metrics.images import ImageSource
from ..metrics.score import score
from ..quant.apply import QuantizedModel, quantize_model
from ..quant.block import BlockInputs
from ..quant.build import GroupQuantizer
from ..quant.ranges import Clock, StepRanges
from ..records.schema import AllocationSummary, Costs, Metric, Score
from .resources import Judge, Resources
from .samples import SampleStore

PAIRS = 250  # images compared at a time
_KNOWN = ("inputs", "times", "moment", "step_maxima", "steps")


@dataclass(frozen=True)
class Calibration:
    """What plugins may know of each layer; all of it empty where nobody asks."""

    layer_data: Callable[[str], LayerData]
    ranges: dict[str, StepRanges] = field(default_factory=dict)
    block_inputs: Callable[[int], BlockInputs] | None = None


def calibrate(
    job: Job, model: DiTModel, groups: list[Group], resources: Resources, reporter: Reporter
) -> Calibration:
    """Statistics of the full-precision model, gathered only where a plugin or a format needs them.

    They are those of the unquantized model for every method: no layer is rounded on what the
    quantized layers before it give (our choice, so that all methods share one pass).
    """
    recipe, create = job.recipe, resources.registry.create
    plugins = [create(kind, getattr(recipe, kind)) for kind in ("transform", "rounding", "branch")]
    asked = any(plugin.needs_inputs for plugin in plugins)
    if job.budget.is_unbounded or not (asked or recipe.activation_format.is_static):
        return Calibration(partial(_layer_data, job, model))
    store = resources.statistics(model, job.protocol, job.seed, reporter)
    group_of = {layer: group for group in groups for layer in group.layers}
    device = resources.device

    def layer_data(path: str) -> LayerData:
        seen = store.group(group_of[path])
        known = {name: getattr(seen, name).to(device) for name in _KNOWN}
        return replace(_layer_data(job, model, path), **known)

    def block_inputs(block: int) -> BlockInputs:
        inputs = store.calibration()
        parts = (store.block_inputs(block), inputs.times, inputs.classes)
        return BlockInputs(*(part.to(device) for part in parts))

    ranges = {}
    if recipe.activation_format.is_static:
        for path, group in group_of.items():
            seen = store.group(group)
            ranges[path] = StepRanges(seen.steps, seen.step_low, seen.step_high)
    return Calibration(layer_data, ranges, block_inputs)


def _layer_data(job: Job, model: DiTModel, path: str) -> LayerData:
    layer: Any = model.transformer.get_submodule(path)
    seed = image_seed(job.seed, path, 0)
    return LayerData(path, layer.in_features, layer.out_features, seed=seed)


def group_quantizer(job: Job, calibration: Calibration, resources: Resources) -> GroupQuantizer:
    """Return what makes the quantized groups of the job."""
    recipe, create = job.recipe, resources.registry.create
    return GroupQuantizer(
        create("transform", recipe.transform),
        create("rounding", recipe.rounding),
        recipe.weight_format,
        recipe.activation_format,
        calibration.layer_data,
        calibration.ranges,
        Clock(recipe.activation_format.time_groups),
        create("branch", recipe.branch),
    )


def quantize(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    allocation: Allocation,
    calibration: Calibration,
    resources: Resources,
    advance: Advance,
) -> QuantizedModel:
    """The model with the allocation in it, until the handle is left. Raises Diverged."""
    full = job.budget.is_unbounded
    return quantize_model(
        model.transformer,
        groups,
        allocation,
        group_quantizer(job, calibration, resources),
        block_inputs=calibration.block_inputs,
        attention_bits=None if full else job.recipe.attention_bits,
        advance=advance,
    )


def count_cost(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    allocation: Allocation,
    quantized: QuantizedModel,
    guidance_passes: int,
) -> CostReport:
    """BitOPs and bytes of what is really in the model, counted on its bare skeleton."""
    return count(
        skeleton(model.transformer.config),
        groups,
        allocation,
        weight_format=job.recipe.weight_format,
        activation_format=job.recipe.activation_format,
        attention_bits=None if job.budget.is_unbounded else job.recipe.attention_bits,
        storage=quantized.storage,
        extra=quantized.operators,
        guidance_passes=guidance_passes,
        steps=job.protocol.steps,
    )


def costs_of(report: CostReport, job: Job) -> Costs:
    """The totals of a report as a record keeps them."""
    return Costs(
        macs=report.macs,
        parameters=report.parameters,
        bitops=report.bitops,
        bitops_linear=report.bitops_linear,
        bitops_per_image=report.bitops_per_image,
        bytes=report.bytes,
        effective_bits=report.effective_bits,
        satisfied=report.satisfied(job.budget, job.recipe.branch_in_budget),
        branch_bitops=report.branch_bitops,
        branch_bytes=report.branch_bytes,
    )


def summary_of(allocation: Allocation, report: CostReport) -> AllocationSummary:
    """MAC-weighted mean bits of the searchable layers, and how many groups have each precision."""
    rows = [op for op in report.operators if op.searchable]
    macs = sum(op.macs for op in rows)
    searchable = {op.group for op in rows}
    counts: dict[str, int] = {}
    for group, precision in allocation.items():
        if group in searchable:
            counts[str(precision)] = counts.get(str(precision), 0) + 1
    return AllocationSummary(
        mean_weight_bits=sum(op.macs * op.weight_bits for op in rows) / macs,
        mean_activation_bits=sum(op.macs * op.activation_bits for op in rows) / macs,
        counts=counts,
    )


def fidelity(samples: SampleStore, reference: SampleStore, images: int) -> dict[Metric, Score]:
    """Paired fidelity to the full-precision samples of the same noise and class."""
    pairs = Fidelity()
    own_batches, full_batches = (store.batches(images, PAIRS) for store in (samples, reference))
    for own, full in zip(own_batches, full_batches, strict=True):
        pairs.add(own.images, full.images, own.latents, full.latents)
    summary = pairs.summary()
    scores: dict[Metric, Score] = {
        "psnr": Score(value=summary.psnr),
        "ssim": Score(value=summary.ssim),
    }
    if summary.latent_mse is not None:
        scores["latent_mse"] = Score(value=summary.latent_mse)
    return scores


def distribution(
    samples: SampleStore, judge: Judge, images: int, advance: Advance
) -> dict[Metric, Score]:
    """Frechet distances, inception score, precision, recall and KID against the reference."""
    shape = next(samples.shards(1)).images.shape[1:]
    source = ImageSource(
        str(samples.folder), images, shape, lambda: (b.images for b in samples.shards(images))
    )
    features = judge.network.extract(source, advance=advance)
    classes = np.concatenate([batch.classes for batch in samples.shards(images)])
    scores = score(features, judge.reference, classes)
    return {cast(Metric, name): Score(**asdict(value)) for name, value in scores.items()}
