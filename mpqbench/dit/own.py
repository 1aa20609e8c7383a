"""What of a protocol follows from the model: the sampler and the feature network."""

from ..core.protocol import Protocol
from .architectures import architecture_named
from .configs import pipeline_folder, random_configuration, read_pipeline
from .scheduler_configs import FlowConfig
from .zoo import CONFIGURATIONS, DEFAULT_CLASS, FEATURES, RANDOM_PREFIX


def of_model(protocol: Protocol, model: str) -> Protocol:
    """Return ``protocol`` with the sampler and the features of ``model`` where it says ``own``.

    A model of flow matching is sampled with Euler steps, any other with DDIM. Features of a model
    that has none of its own are those of the default model.
    """
    changes = {}
    if protocol.sampler == "own":
        changes["sampler"] = own_sampler(_is_flow(model))
    if protocol.features == "own":
        changes["features"] = FEATURES.get(model, Protocol.model_fields["features"].default)
    return protocol.model_copy(update=changes)


def own_sampler(is_flow: bool) -> str:
    """Return the usual sampler of a model of flow matching, or of one that predicts noise."""
    return "euler" if is_flow else "ddim"


def _is_flow(model: str) -> bool:
    if model.startswith(RANDOM_PREFIX) or model in CONFIGURATIONS:
        name = random_configuration(model).get("_class_name", DEFAULT_CLASS)
        return architecture_named(name).is_flow
    return isinstance(read_pipeline(pipeline_folder(model)).scheduler, FlowConfig)
