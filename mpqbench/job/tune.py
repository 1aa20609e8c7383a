"""The tuning stage: data are recorded before quantization, and the model is trained after it."""

from ..contracts import Curve, DistillationData
from ..core.settings import digest_of
from ..core.sources import folder_digest
from ..quant.apply import QuantizedModel
from ..tuning.checkpoint import Checkpoint
from ..tuning.student import QuantizedStudent, distillation_data
from .context import JobContext
from .fingerprints import samples_fingerprint


def record_data(context: JobContext, *, fresh: bool) -> DistillationData | None:
    """Return the distillation data of the recipe's tuner; ``None`` where it asks for none.

    The model must be in full precision. A training that was stopped is resumed; with ``fresh`` it
    begins anew.
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


def tune(context: JobContext, quantized: QuantizedModel, data: DistillationData) -> Curve:
    """Train the model that is in ``quantized``, in place. Raises Diverged."""
    return context.plugins.tuner.tune(QuantizedStudent(quantized, context.groups), data)
