"""Fingerprints: digests of all that can change a record, the images, a search or a table."""

from collections.abc import Sequence
from typing import Any

from ..core.precision import Precision
from ..core.protocol import NETWORKS, PROMPTS
from ..core.recipe import TEXTS, Recipe
from ..core.registry import Registry
from ..core.settings import digest_of
from ..core.suite import Job
from ..metrics.score import metric_fingerprint
from .context import JobContext
from .resources import Resources

# Folders of the harness that images and searches do not depend on.
_NOT_IN_SAMPLES = ("metrics", "records")
_NOT_IN_SEARCH = ("metrics", "records", "tuning")
# What scores depend on, and then searches: slots, and other fields of a recipe.
_SCORING = ("transform", "rounding", "branch", "objective", "environment")
_SCORED = ("weight_format", "activation_format", "attention_bits", "adaln", "early_drop")
_SEARCHED = ("evaluations", "branch_in_budget", "choices")


def fingerprint(job: Job, resources: Resources) -> str:
    """Return the digest of everything that can change the record of a job."""
    sources = resources.registry.source_digest(job.recipe, ())
    scores = ranking_fingerprint(job, resources)
    return digest_of([samples_fingerprint(job, resources), scores, sources])


def recipe_digest(recipe: Recipe, registry: Registry) -> str:
    """Return the digest of a recipe and of the code of its plugins: rows of two are not alike."""
    settings = recipe.model_dump(mode="json", exclude=set(TEXTS))
    return digest_of([settings, registry.plugin_digests(recipe)])


def samples_fingerprint(job: Job, resources: Resources) -> str:
    """Return the digest of what decides the pixels of image i."""
    return digest_of(
        {
            "sources": resources.registry.source_digest(job.recipe, _NOT_IN_SAMPLES),
            "model": resources.loader.model(job.model, job.protocol).digest,
            "recipe": job.recipe.model_dump(mode="json", exclude=set(TEXTS)),
            "budget": str(job.budget),
            "seed": job.seed,
            "realization": job.realization,
            "sampling": job.protocol.sampling(),
            "device": job.device.partition(":")[0],
        }
    )


def ranking_fingerprint(job: Job, resources: Resources) -> str:
    """Return the digest of what scores depend on but the method: only equal ones are ranked."""
    evaluator, protocol = resources.loader.evaluator(job.protocol), job.protocol
    network = "none"
    if evaluator is not None:
        network = metric_fingerprint(evaluator.network, protocol.images, evaluator.reference)
    evaluated = {"name", "features", "feature_weights", "reference", "micro_batch", *NETWORKS}
    if protocol.prompts is None and protocol.prompt_embeddings is None:
        evaluated |= PROMPTS  # a record of a model with classes need not speak of them
    settings = protocol.model_dump(mode="json", exclude=evaluated | protocol.unsaid)
    lpips, clip = resources.loader.lpips(protocol), resources.loader.clip(protocol)
    settings |= {} if lpips is None else {"lpips": lpips.digest}
    settings |= {} if clip is None else {"clip": clip.digest}
    return digest_of([network, settings])


def table_fingerprint(
    context: JobContext, choices: Sequence[Precision], part: Sequence[str]
) -> str:
    """Return the digest of what an additive table depends on, the searcher not included."""
    table = {"choices": [str(precision) for precision in choices], "part": list(part)}
    return digest_of(_dependencies(context, _SCORING, _SCORED) | table)


def search_fingerprint(context: JobContext) -> str:
    """Return the digest of what a search depends on."""
    slots, fields = (*_SCORING, "searcher"), (*_SCORED, *_SEARCHED)
    return digest_of(_dependencies(context, slots, fields) | {"budget": str(context.job.budget)})


def _dependencies(
    context: JobContext, slots: Sequence[str], fields: Sequence[str]
) -> dict[str, Any]:
    recipe, registry = context.recipe, context.resources.registry
    choices = {slot: getattr(recipe, slot) for slot in slots}
    named = {  # a parameter that is left to its default is the same as one that is written
        slot: [choice.name, registry.parameters(slot, choice)] for slot, choice in choices.items()
    }
    return {
        "inputs": context.recordings.fingerprint,
        "recipe": recipe.model_dump(mode="json", include={*fields}) | named,
        "sources": registry.source_digest(Recipe(name="search", **choices), _NOT_IN_SEARCH),
        "base": str(context.job.budget.precision),
    }
