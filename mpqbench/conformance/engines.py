"""The tiny DiT in the engine that scores allocations: for checks of objectives and environments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..contracts import Environment, LayerData
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Precision
from ..dit.calibration import CalibrationSet
from ..dit.chain import Layer
from ..dit.groups import layer_groups
from ..quant.build import GroupQuantizer
from ..search.engine import Engine
from ..search.groups import SearchableGroup
from ..search.setup import EngineSettings, build_engine, clean
from .check import expect
from .models import TO_NEAREST, UNTOUCHED, expect_plain, tiny_transformer

CHOICES = tuple(Precision(*bits) for bits in ((2, 3), (4, 4), (2, 8), (8, 8)))
COARSE, FINE = CHOICES[0], CHOICES[-1]
BASE = Precision(3, 3)
INPUTS, BATCH = 5, 3  # batches of 3 and 2


def tiny_engine(
    environment: Environment | None = None,
    base: Precision = BASE,
    span: int = 1,
) -> Engine:
    """An engine on 5 random inputs over all time steps, or on two runs of ``span``; full precision
    around candidates unless there is an ``environment``.
    """
    inputs, batch = (INPUTS, BATCH) if span == 1 else (2 * span, span)
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(inputs, 4, 8, 8, generator=generator)
    times = torch.arange(inputs) * (1000 // inputs)
    calibration = CalibrationSet(latents, times, torch.arange(inputs) % 4)
    build = GroupQuantizer(
        transform=UNTOUCHED,
        rounding=TO_NEAREST,
        weight_format=WeightFormat(),
        activation_format=ActivationFormat(),
        layer_data=lambda path: LayerData(path, 0, 0, seed=3),
    )

    def outside(group: SearchableGroup, inputs: int, batch: int) -> Layer:
        if environment is None:
            return clean(group, inputs, batch)
        return environment.layer(group, base, inputs, 11 * batch + 1)

    model = tiny_transformer()
    return build_engine(
        model,
        layer_groups(model),
        build,
        calibration,
        EngineSettings(outside=outside, batch=batch),
    )


@contextmanager
def unchanged(engine: Engine, where: object) -> Iterator[None]:
    """Weights, modules and quantized forms of the network must be the same afterwards."""
    before = _state(engine)
    modules = {name: id(module) for name, module in _modules(engine)}
    yield
    for name, tensor in _state(engine).items():
        expect(torch.equal(tensor, before[name]), f"{where}: it changes {name} of the network")
    now = {name: id(module) for name, module in _modules(engine)}
    expect(now == modules, f"{where}: it exchanges modules of the network")
    expect_plain(engine.chain.transformer, where)


def _modules(engine: Engine) -> list[tuple[str, torch.nn.Module]]:
    return list(engine.chain.transformer.named_modules())


def _state(engine: Engine) -> dict[str, torch.Tensor]:
    state = {k: v.clone() for k, v in engine.chain.transformer.state_dict().items()}
    for name, cell in engine.searchable.items():
        state[f"the weight of {name}"] = cell.weight.clone()
        for precision in (*CHOICES, BASE):
            state[f"{name} at {precision}"] = cell.at(precision).weight.clone()
    return state
