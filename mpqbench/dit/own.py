"""What of a protocol follows from the model: the sampler, guidance and the feature network."""

from collections.abc import Mapping
from typing import Any

from ..core.protocol import Protocol
from .architectures import architecture_named
from .configs import pipeline_folder, random_configuration, read_pipeline
from .scheduler_configs import FlowConfig
from .zoo import CONFIGURATIONS, DEFAULT_CLASS, FEATURES, RANDOM_PREFIX


def of_model(protocol: Protocol, model: str) -> Protocol:
    """Return ``protocol`` with what is usual for ``model`` where it leaves this open.

    A model of flow matching is sampled with Euler steps, any other with DDIM. Features of a model
    that has none of its own are those of the default model.
    """
    changes: dict[str, Any] = {}
    if protocol.sampler == "own":
        changes["sampler"] = own_sampler(_is_flow(model))
    if protocol.guidance is None:
        config = _configuration(model)
        name = config.get("_class_name", DEFAULT_CLASS)
        changes["guidance"] = architecture_named(name).own_guidance(config)
    if protocol.features == "own":
        changes["features"] = FEATURES.get(model, Protocol.model_fields["features"].default)
    return protocol.model_copy(update=changes)


def own_sampler(is_flow: bool) -> str:
    """Return the usual sampler of a model of flow matching, or of one that predicts noise."""
    return "euler" if is_flow else "ddim"


def _configuration(model: str) -> Mapping[str, Any]:
    if _is_random(model):
        return random_configuration(model)
    pipeline = read_pipeline(pipeline_folder(model))
    return {**dict(pipeline.transformer), "_class_name": pipeline.classes["transformer"]}


def _is_random(model: str) -> bool:
    return model.startswith(RANDOM_PREFIX) or model in CONFIGURATIONS


def _is_flow(model: str) -> bool:
    if _is_random(model):
        name = random_configuration(model).get("_class_name", DEFAULT_CLASS)
        return architecture_named(name).is_flow
    return isinstance(read_pipeline(pipeline_folder(model)).scheduler, FlowConfig)
