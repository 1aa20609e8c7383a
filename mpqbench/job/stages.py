"""The stages of a job after its search: quantization, cost, samples and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from ..contracts import FittedCorrection
from ..core.precision import Allocation
from ..cost.count import CostReport, CountOptions, count
from ..dit.held_out import HeldOut
from ..dit.loading import skeleton
from ..metrics.fidelity import Fidelity
from ..metrics.images import ImageSource
from ..metrics.score import score
from ..quant.apply import QuantizedModel, quantize_model
from ..records.schema import AllocationSummary, Costs, Metric, Score
from .context import JobContext
from .samples import SampleStore

PAIRS = 250  # images compared at a time


def quantize(context: JobContext, allocation: Allocation) -> QuantizedModel:
    """Quantize the model until the returned context manager exits. Raises Diverged."""
    with context.reporter.stage(f"quantizing {context.title}", len(context.groups)) as advance:
        return quantize_model(
            context.model.transformer,
            context.groups,
            allocation,
            context.quantizer(),
            advance,
        )


def count_cost(
    context: JobContext, allocation: Allocation, quantized: QuantizedModel
) -> CostReport:
    """Count BitOPs and bytes of the quantized model, on a copy without weights."""
    recipe = context.recipe
    options = CountOptions(
        recipe.weight_format,
        recipe.activation_format,
        recipe.attention_bits,
        quantized.storage,
        quantized.operators,
    )
    transformer = skeleton(context.model.transformer.config)
    passes = context.recordings.sampler_of("noise").guidance_passes
    report = count(transformer, context.groups, allocation, options)
    return replace(report, guidance_passes=passes, steps=context.job.protocol.steps)


def costs_of(context: JobContext, report: CostReport) -> Costs:
    """Return the totals of a report as a record keeps them."""
    totals = {name: getattr(report, name) for name in Costs.model_fields if name != "satisfied"}
    satisfied = report.satisfied(context.job.budget, context.recipe.branch_in_budget)
    return Costs(**totals, satisfied=satisfied)


def summary_of(allocation: Allocation, report: CostReport) -> AllocationSummary:
    """Return MAC-weighted mean bits of the searchable layers, and groups by precision."""
    rows = [op for op in report.operators if op.searchable]
    macs = sum(op.macs for op in rows)
    searchable = {op.group for op in rows}
    counts = Counter(str(p) for group, p in allocation.items() if group in searchable)
    return AllocationSummary(
        mean_weight_bits=sum(op.macs * op.weight_bits for op in rows) / macs,
        mean_activation_bits=sum(op.macs * op.activation_bits for op in rows) / macs,
        counts=dict(counts),
    )


def held_out_error(context: JobContext, held_out: HeldOut) -> dict[Metric, Score]:
    """Return the error of the quantized model's outputs, and of the predicted noise alone."""
    model = context.model
    errors = held_out.mse(model.transformer, context.job.protocol.micro_batch)
    noise = errors[: model.latent_shape[0]]
    return {
        "output_mse": Score(value=float(errors.mean())),
        "noise_mse": Score(value=float(noise.mean())),
    }


def sample(
    context: JobContext, samples: SampleStore, corrections: Sequence[FittedCorrection]
) -> None:
    """Sample the images of the protocol that are not there yet. Raises Diverged."""
    sampler = context.recordings.sampler_of("noise")
    sampler.corrections = corrections
    images = context.job.protocol.images
    with context.reporter.stage(f"sampling {context.title}", images) as advance:
        samples.fill(sampler, images, advance)


def fidelity(samples: SampleStore, reference: SampleStore, images: int) -> dict[Metric, Score]:
    """Return paired fidelity to the full-precision samples of the same noise and class."""
    pairs = Fidelity()
    batches = (store.batches(images, PAIRS) for store in (samples, reference))
    for quantized, full in zip(*batches, strict=True):
        pairs.add(quantized.images, full.images, quantized.latents, full.latents)
    return {cast(Metric, name): Score(value=value) for name, value in pairs.means().items()}


def distribution(context: JobContext, samples: SampleStore) -> dict[Metric, Score]:
    """Return Frechet distances, inception score, precision, recall and KID of the protocol.

    Returns an empty dictionary where the protocol asks for no features.
    """
    evaluator, images = (
        context.resources.loader.evaluator(context.job.protocol),
        context.job.protocol.images,
    )
    if evaluator is None:
        return {}
    shape = next(samples.shards(1)).images.shape[1:]
    source = ImageSource(
        str(samples.folder), images, shape, lambda: (b.images for b in samples.shards(images))
    )
    with context.reporter.stage(f"scoring {context.title}", images) as advance:
        features = evaluator.network.extract(source, advance=advance)
        classes = np.concatenate([batch.classes for batch in samples.shards(images)])
        scores = score(features, evaluator.reference, classes)
    return {
        cast(Metric, name): Score(value=found.value, ci=found.ci, replicates=found.replicates)
        for name, found in scores.items()
    }
