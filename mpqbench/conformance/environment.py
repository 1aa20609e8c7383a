"""Checks of environments, on the groups of a tiny DiT and their real inputs."""

from collections.abc import Callable
from typing import Any

import torch

from ..contracts import Environment
from ..core.precision import Precision
from ..quant.verify import expect_tensor
from .check import Check, checks_of, expect_close, expect_repeatable
from .models import BASE, BATCH, SampleNetwork

BASES = (BASE, Precision(8, 8), Precision(2, 4))


def checks(plugin: Environment, quick: bool) -> list[Check]:
    """Return all checks of an environment."""
    tests = _EnvironmentChecks(plugin)
    return checks_of(tests.sample.engine.groups, tests.output, tests.candidates, tests.repeatable)


class _EnvironmentChecks:
    def __init__(self, plugin: Environment) -> None:
        self.plugin, self.sample = plugin, SampleNetwork()
        network = self.sample.network
        self.inputs = {name: next(network.inputs(name)) for name in network.groups}

    def output(self, name: str) -> None:
        """Outputs are finite and have the shape and type of the full-precision layer's."""
        x = self.inputs[name]
        full = self.sample.engine.searchable[name].full(x)
        for base in BASES:
            output = self._layer(name, base)(x)
            expect_tensor(f"the output with base {base}", output, full.shape, full.dtype)

    def candidates(self, name: str) -> None:
        """The same rows get the same output, whatever other candidates are in the batch."""
        layer, x = self._layer(name), self.inputs[name]
        alone = layer(x)  # the environment itself comes first
        for rows in ([x, x], [x, 1.5 * x.flip(1), x]):
            together = layer(torch.cat(rows))
            for part in (together[:BATCH], together[-BATCH:]):
                what = f"among {len(rows)} candidates the output of one is changed"
                expect_close(what, part, alone)

    def repeatable(self, name: str) -> None:
        """One seed gives one output; input, network and global generators are left alone."""

        def run(x: torch.Tensor) -> list[torch.Tensor]:
            output = self._layer(name)(x)
            self.sample.expect_unchanged()
            return [output]

        expect_repeatable("seed", run, x=self.inputs[name].clone())

    def _layer(self, name: str, base: Precision = BASE) -> Callable[[torch.Tensor], Any]:
        layer = self.plugin.layer(self.sample.engine.searchable[name], base, BATCH, 5)
        return torch.inference_mode()(layer)
