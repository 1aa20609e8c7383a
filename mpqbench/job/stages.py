"""The stages of a job but search and correction: training data, cost, samples and scores."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from ..contracts import Curve, DistillationData, FittedCorrection
from ..core.jackknife import Estimate, deal_groups
from ..core.precision import Allocation
from ..core.progress import Advance
from ..core.settings import digest_of
from ..core.sources import folder_digest
from ..cost.count import CostReport, CountOptions, budget_limit, count
from ..dit.calibration import HeldOut
from ..dit.loading import skeleton
from ..dit.sampling import Sampler
from ..metrics.clip_score import ClipScorer
from ..metrics.fidelity import latent_mse, psnr, ssim, ssim_missing
from ..metrics.images import regroup
from ..metrics.perceptual import PerceptualDistance, lpips_missing
from ..metrics.reference import Reference
from ..metrics.score import mean_estimate, missing, prompt_accuracy, score
from ..quant.apply import QuantizedModel, quantize_model
from ..quant.kept import KeptRounding
from ..quant.verify import (
    expect_counted,
    expect_same_inputs,
    expect_tuned,
    input_quantizers,
)
from ..records.schema import AllocationSummary, Costs, Metric, Score
from ..tuning.checkpoint import Checkpoint
from ..tuning.student import QuantizedStudent, distillation_data
from . import correct
from .context import JobContext
from .features import FeatureFiles
from .filling import Filling, Offer
from .fingerprints import samples_fingerprint
from .samples import SampleStore

PAIRS = 250  # images compared at a time


def record_data(context: JobContext, *, fresh: bool) -> DistillationData | None:
    """Return the distillation data of the recipe's tuner; ``None`` where it asks for none.

    The model must be in full precision. With ``fresh`` a training that was stopped begins anew.
    """
    if not context.plugins.tuner.trajectories:
        return None
    cache, recordings = context.resources.cache, context.recordings
    name = samples_fingerprint(context.job, context.resources)
    checkpoint = Checkpoint(cache.at("training"), name)
    if fresh:
        checkpoint.remove()
    digest = digest_of([recordings.fingerprint, folder_digest("tuning")])
    kept = cache.at("trajectories", digest)
    return distillation_data(context.plugins.tuner, recordings.sampler_of, kept, checkpoint)


def quantize(context: JobContext, allocation: Allocation, *, kept: bool = False) -> QuantizedModel:
    """Quantize the model until the returned context manager exits. Raises Diverged.

    A slow rounding is kept layer by layer, or block by block, for a job that is stopped. With
    ``kept`` nothing else is used: raises BenchError where a layer is missing.
    """
    quantizer = context.quantizer()
    if quantizer.rounding.slow:
        name = samples_fingerprint(context.job, context.resources)
        cache = context.resources.cache.at("rounding", name)
        quantizer = replace(quantizer, rounding=KeptRounding(quantizer.rounding, cache, kept))
    with context.reporter.stage(f"quantizing {context.title}", len(context.groups)) as advance:
        return quantize_model(
            context.model.transformer,
            context.groups,
            allocation,
            quantizer,
            advance,
        )


def tune(context: JobContext, quantized: QuantizedModel, data: DistillationData) -> Curve:
    """Train the quantized model in place and return the course of the training.

    Raises BenchError with the layer's name where the tuner left its weight off its grid, a branch
    out of the count or another input quantizer.
    """
    student = QuantizedStudent(quantized, context.groups)
    inputs = input_quantizers(student.layers)
    curve = context.plugins.tuner.tune(student, data)
    expect_tuned(student.layers, student.rounded, quantized.rounded)
    expect_same_inputs(student.layers, inputs)
    expect_counted(student.layers, quantized.operators)
    return curve


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
    transformer = skeleton(context.model.transformer)
    passes = context.recordings.sampler_of("noise").guidance_passes
    report = count(transformer, context.groups, allocation, options)
    return replace(report, guidance_passes=passes, steps=context.job.protocol.steps)


def costs_of(context: JobContext, report: CostReport) -> Costs:
    """Return the totals of a report as a record keeps them."""
    transformer = skeleton(context.model.transformer)
    limit = budget_limit(transformer, context.groups, context.job.budget)
    satisfied = report.satisfied(context.job.budget, limit, context.recipe.branch_in_budget)
    return record_costs(report, satisfied)


def record_costs(report: CostReport, satisfied: bool) -> Costs:
    """Return the totals of ``report`` as a record keeps them."""
    given = {"satisfied": satisfied}
    totals = {n: getattr(report, n) for n in Costs.model_fields if n not in ("satisfied", "before")}
    return Costs(**totals | given)


def summary_of(allocation: Allocation, report: CostReport) -> AllocationSummary:
    """Return MAC-weighted mean bits of the searchable layers, and groups by precision."""
    rows = [op for op in report.operators if op.searchable]
    macs = sum(op.macs for op in rows)
    searchable = {op.group for op in rows}
    counts = Counter(str(p) for group, p in allocation.items() if group in searchable)
    return AllocationSummary(
        mean_weight_bits=sum(op.macs * op.weight_bits for op in rows) / macs,
        mean_activation_bits=sum(op.macs * op.activation_bits for op in rows) / macs,
        counts=counts,
    )


def held_out_error(context: JobContext, held_out: HeldOut) -> dict[Metric, Score]:
    """Return the error of the quantized model's outputs, and of the predicted noise alone."""
    model = context.model
    errors = held_out.mse(model.transformer, context.job.protocol.micro_batch)
    means = {"output_mse": errors, "noise_mse": errors[: model.latent_shape[0]]}
    return {cast(Metric, name): Score(value=float(each.mean())) for name, each in means.items()}


def is_kept(context: JobContext, data: DistillationData | None) -> bool:
    """Return whether another process can have the quantized model without fitting it again.

    Tuners of third parties may keep no training, and corrections may not be packed.
    """
    return (data is None or data.checkpoint.exists) and correct.is_kept(context)


def sampler_of(context: JobContext, corrections: Sequence[FittedCorrection]) -> Sampler:
    """Return the sampler of the images that are measured."""
    sampler = context.measured.sampler_of("noise")
    sampler.corrections = corrections
    return sampler


def sample(
    context: JobContext, samples: SampleStore, sampler: Sampler, offer: Offer | None = None
) -> list[str]:
    """Sample the images of the protocol that are not there yet. Raises Diverged.

    Returns notes on what was done otherwise where memory was short, here or in another process.
    """
    images = context.job.protocol.images
    with context.reporter.stage(f"sampling {context.title}", images) as advance:
        Filling(samples, sampler, advance).fill(images, offer)
    return samples.notes(images)


def fidelity(
    samples: SampleStore,
    reference: SampleStore,
    images: int,
    lpips: PerceptualDistance | None = None,
) -> dict[Metric, Score]:
    """Return paired fidelity to the full-precision samples of the same noise and class.

    SSIM and LPIPS are absent where ``ssim_missing`` and ``lpips_missing`` say that the images are
    too small, and LPIPS without its network.
    """
    sides = (
        regroup(((shard.images, shard.latents) for shard in store.shards(images)), PAIRS)
        for store in (samples, reference)
    )
    values: dict[Metric, list[np.ndarray]] = {"psnr": [], "ssim": [], "latent_mse": []}
    shape = next(reference.shards(1)).images.shape[1:]
    if ssim_missing(shape) is not None:
        del values["ssim"]
    if lpips is not None and lpips_missing(shape) is None:
        values["lpips"] = []
    for (pictures, latents), (full_pictures, full_latents) in zip(*sides, strict=True):
        values["psnr"].append(psnr(pictures, full_pictures))
        if "ssim" in values:
            values["ssim"].append(ssim(pictures, full_pictures))
        if lpips is not None and "lpips" in values:
            values["lpips"].append(lpips.distances(pictures, full_pictures))
        values["latent_mse"].append(latent_mse(latents, full_latents))
    return {name: Score(value=float(np.concatenate(v).mean())) for name, v in values.items()}


def scoring_notes(context: JobContext) -> list[str]:
    """Return what will be left out of the scores, and what of the reference is not as it is."""
    protocol, loader = context.job.protocol, context.resources.loader
    evaluator, clip = loader.evaluator(protocol), loader.clip(protocol)
    shape = context.model.image_shape
    small = [ssim_missing(shape), lpips_missing(shape) if loader.lpips(protocol) else None]
    notes = [] if context.job.is_reference else [note for note in small if note is not None]
    notes += [] if clip is None else clip.notes(context.model.texts or ())
    if evaluator is None:
        return notes
    return [*notes, *evaluator.reference.notes, *missing(protocol.images)]


def distribution(context: JobContext, samples: SampleStore) -> dict[Metric, Score]:
    """Return the scores of the protocol's features, nothing where there are none."""
    protocol = context.job.protocol
    evaluator, images = context.resources.loader.evaluator(protocol), protocol.images
    if evaluator is None:
        return {}
    files = FeatureFiles(samples, evaluator.network)
    with context.reporter.stage(f"scoring {context.title}", images) as advance:
        labels = context.model.labels
        return distribution_of(files, evaluator.reference, images, advance, labels)


def distribution_of(
    files: FeatureFiles,
    reference: Reference,
    images: int,
    advance: Advance,
    labels: np.ndarray | None = None,
) -> dict[Metric, Score]:
    """Return the scores of the first ``images`` samples against a reference.

    With the ``labels`` (m,) of m prompts, and a network that names what it sees, the accuracy of
    prompts is one of the scores.
    """
    shards = files.samples.whole(images)
    features, classes = files.merged(shards, np.arange(images), advance)
    scores = score(features, reference, classes)
    if labels is not None:
        asked = labels[classes]
        blocks = features.pooled.blocks()
        found = (files.network.ranks(block, asked[place]) for place, block in blocks)
        ranks = [each for each in found if each is not None]
        if ranks:
            scores |= prompt_accuracy(np.concatenate(ranks), deal_groups(images, classes))
    return {cast(Metric, name): _kept(found) for name, found in scores.items()}


def prompt_agreement(context: JobContext, samples: SampleStore) -> dict[Metric, Score]:
    """Return the CLIP score of images and prompts, nothing where the protocol asks for none."""
    protocol, prompts = context.job.protocol, context.model.texts
    scorer, images = context.resources.loader.clip(protocol), protocol.images
    if scorer is None or prompts is None:  # the second is refused before any job
        return {}
    with context.reporter.stage(f"CLIP score of {context.title}", images) as advance:
        return clip_score_of(samples, scorer, prompts, images, advance)


def clip_score_of(
    samples: SampleStore,
    scorer: ClipScorer,
    prompts: Sequence[str],
    images: int,
    advance: Advance,
) -> dict[Metric, Score]:
    """Return the mean CLIP score of the first ``images`` samples and their ``prompts``."""
    batches = ((batch.images, batch.classes) for batch in samples.shards(images))
    values = scorer.scores(batches, prompts, advance)
    classes = np.concatenate([batch.classes for batch in samples.shards(images)])
    return {"clip_score": _kept(mean_estimate(values, deal_groups(images, classes)))}


def _kept(found: Estimate) -> Score:
    return Score(value=found.value, ci=found.ci, replicates=found.replicates)
