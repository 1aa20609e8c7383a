"""Models in full precision, and quantized as a method would in a job."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import FittedCorrection
from ..core.errors import unknown
from ..core.precision import Allocation, Budget
from ..core.protocol import PROTOCOLS, Protocol
from ..core.recipe import FULL_PRECISION, Recipe
from ..core.registry import discover
from ..core.settings import validate
from ..core.suite import Job
from ..core.threads import one_thread
from ..cost.count import CostReport
from ..dit import loading
from ..dit.groups import layer_groups
from ..dit.loading import DiTModel
from ..dit.sampling import DTYPES, Sampler
from ..job import stages
from ..job.context import JobContext, calibrate, check_groups, check_recipe
from ..job.correct import correct
from ..job.loading import Loader
from ..job.resources import Resources
from ..job.search_problem import check_searches
from ..job.search_stage import find_allocation
from ..metrics.features import usable_device
from ..quant.apply import QuantizedModel
from ..records.schema import Costs
from ..report.ranges import LayerInputs

_MACHINE = ("device", "cache", "reporter")


def load_model(name: str, device: str = "cpu") -> DiTModel:
    """Return the model called ``name`` in float32, with its transformer, autoencoder and scheduler.

    ``name`` is ``fashion-dit``, the folder of a ``DiTPipeline`` or the id of one on the hub. Raises
    BenchError for an unknown name, weights that cannot be read, and a device that is not there.

    Examples:
        >>> model = load_model("fashion-dit")
        >>> model.image_shape, model.classes, len(model.transformer.transformer_blocks)
        ((32, 32, 1), 10, 12)
    """
    return loading.load_model(name).to(str(usable_device(device)), DTYPES["float32"])


def layer_inputs(
    model: str, layer: str | None = None, device: str = "cpu"
) -> tuple[str, LayerInputs]:
    """Record the calibration inputs of a model; return the name of a layer and what the layer gets.

    ``layer`` is a layer or a group, by default the second layer of the MLP in the middle block.
    Raises BenchError for an unknown model, layer or device.
    """
    protocol = PROTOCOLS["quick"].model_copy(update={"features": "none"})
    job = Job(model, FULL_PRECISION, Budget.parse("FP"), 0, protocol, device)
    recordings = Resources(discover(()), str(usable_device(device))).recordings(job)
    groups = layer_groups(recordings.model.transformer)
    names = {name: group for group in groups for name in (group.name, *group.layers)}
    usual = [group.name for group in groups if group.kind == "mlp.down"] or list(names)
    layer = layer or usual[len(usual) // 2]
    if layer not in names:
        raise unknown("layer", layer, names)
    found = recordings.statistics.group(names[layer])
    parts = (found.inputs, found.times, found.steps, found.step_low, found.step_high)
    return layer, LayerInputs(*(part.numpy() for part in (*parts, found.step_maxima)))


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized model, and what it costs.

    ``model.transformer`` has fake-quantized layers: integers times scales, computed in floating
    point. ``allocation`` is the precision of every group; ``cost`` counts operations and bytes;
    ``costs`` are the totals as a record has them, with ``satisfied`` for the budget.
    ``corrections`` change the sampler's prediction, one for each step, if the method has any;
    ``layers`` has the integers of the layers; ``notes`` are sentences on what the search gave up.
    """

    model: DiTModel
    job: Job
    allocation: Allocation
    cost: CostReport
    costs: Costs
    layers: QuantizedModel
    corrections: Sequence[FittedCorrection] = ()
    notes: tuple[str, ...] = ()

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Return images 0 to ``count`` of ``seed``, uint8 (count, H, W, C), as a job makes them.

        Image i has the same noise and class for every method. Raises Diverged for latents that are
        not finite.
        """
        sampler = Sampler(self.model, self.job.protocol, seed, self.job.device)
        sampler.corrections = self.corrections
        return np.concatenate([batch.images for batch in sampler.batches(0, count)])


def quantize(
    model: str | DiTModel,
    method: str | Mapping[str, Any] | Recipe = "rtn",
    budget: str = "W4A4",
    *,
    realization: int = 0,
    **settings: Any,
) -> Quantized:
    """Return a copy of ``model`` quantized by ``method`` within ``budget``, as in a job.

    The method calibrates, searches, rounds, trains and corrects as its recipe says. ``model`` is a
    name or what ``load_model`` returned, which stays as it is; ``method`` a name, the fields of a
    recipe or a Recipe. ``realization`` seeds calibration and whatever else the method draws.
    ``settings`` are

    - ``protocol``, the name of one (``quick``), and its fields, such as ``calibration``;
    - ``format``, a class such as ``g32`` instead of the method's own formats;
    - ``device``, ``plugins`` (files with a PLUGINS table), ``reporter`` of progress;
    - ``cache``, a folder that keeps calibration and searches between calls.

    Raises BenchError for a mistake in any of them, Infeasible where no allocation is within the
    budget, and Diverged where numbers stop being finite.

    Examples:
        >>> quantized = quantize("fashion-dit", "rtn", "W4A4", calibration=16)
        >>> quantized.costs.bytes, quantized.costs.satisfied
        (2631744, True)
        >>> quantized.allocation["blocks.0.attn.qkv"]
        Precision(weight=4, activation=4, group=None, bare=False)
    """
    machine = {name: settings.pop(name) for name in _MACHINE if name in settings}
    registry, name = discover(settings.pop("plugins", ())), settings.pop("protocol", "quick")
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    recipe = method if isinstance(method, Recipe) else registry.method(method)
    recipe = recipe.in_class(settings["format"]) if "format" in settings else recipe
    fields = {key: value for key, value in settings.items() if key != "format"}
    protocol = validate(Protocol, PROTOCOLS[name].model_dump() | fields, "quantize")
    check_recipe(recipe, protocol, registry)
    device = str(usable_device(machine.pop("device", "cpu")))
    own = load_model(model) if isinstance(model, str) else copy.deepcopy(model)
    job = Job(own.name, recipe, Budget.parse(budget), 0, protocol, device, realization=realization)
    check_searches([job], registry)
    folder = machine.pop("cache", None)
    resources = Resources(registry, device, folder=folder and Path(folder), **machine)
    resources.loader = _OneModel(device, own.to(device, DTYPES[protocol.dtype]))
    check_groups(job, own.transformer)
    with one_thread():
        return _quantized(JobContext.open(job, resources))


class _OneModel(Loader):
    """A loader of the one model that it is given."""

    def __init__(self, device: str, model: DiTModel) -> None:
        super().__init__(device)
        self._given = model

    def model(self, name: str, protocol: Protocol) -> DiTModel:
        self._given.configure(protocol)
        return self._given


def _quantized(context: JobContext) -> Quantized:
    context = calibrate(context)
    data = stages.record_data(context, fresh=False)
    search = find_allocation(context)
    layers = stages.quantize(context, search.allocation)
    if data is not None:
        stages.tune(context, layers, data)
    corrections = correct(context, layers)
    cost = stages.count_cost(context, search.allocation, layers)
    costs = stages.costs_of(context, cost)
    return Quantized(
        context.model,
        context.job,
        search.allocation,
        cost,
        costs,
        layers,
        corrections,
        search.notes,
    )
