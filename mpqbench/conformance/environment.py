"""Checks of environments, on the groups of a tiny DiT and their real inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..contracts import Environment
from ..core.precision import Precision
from ..search.groups import SearchableGroup
from .check import Check, checks_of, expect_close, expect_repeatable, expect_tensor
from .network import BASE, BATCH, SampleNetwork

BASES = (BASE, Precision(8, 8), Precision(2, 4))


@dataclass(frozen=True, eq=False)
class GroupCase:
    """A group with its input ``x`` (3, tokens, in) in full precision."""

    group: SearchableGroup
    x: torch.Tensor
    network: SampleNetwork

    def __str__(self) -> str:
        return self.group.name


def checks(plugin: Environment, quick: bool) -> list[Check]:
    """Return all checks of an environment."""
    own, sample = _EnvironmentChecks(plugin), SampleNetwork()
    cases = [
        GroupCase(group, next(iter(sample.network.inputs(name))), sample)
        for name, group in sample.engine.searchable.items()
    ]
    return checks_of(cases, own.output, own.candidates, own.repeatable, own.network)


class _EnvironmentChecks:
    def __init__(self, plugin: Environment) -> None:
        self.plugin = plugin

    def output(self, case: GroupCase) -> None:
        """Outputs are finite and have the shape and type of the full-precision layer's."""
        full = case.group.full(case.x)
        for base in BASES:
            output = self._layer(case, base)(case.x)
            expect_tensor(f"the output with base {base}", output, full.shape, full.dtype)

    def candidates(self, case: GroupCase) -> None:
        """The same rows get the same output, whatever other candidates are in the batch."""
        layer, x = self._layer(case), case.x
        alone = layer(x)  # the environment itself comes first
        for rows in ([x, x], [x, 1.5 * x.flip(1), x]):
            together = layer(torch.cat(rows))
            for part in (together[:BATCH], together[-BATCH:]):
                what = f"among {len(rows)} candidates the output of one is changed"
                expect_close(what, part, alone)

    def repeatable(self, case: GroupCase) -> None:
        """One seed gives one output; the input and global generators are left alone."""
        expect_repeatable("seed", lambda x: [self._layer(case)(x)], x=case.x.clone())

    def network(self, case: GroupCase) -> None:
        """The groups and their quantized weights are left as they are."""
        self._layer(case)(case.x.clone())
        case.network.expect_unchanged()

    def _layer(
        self, case: GroupCase, base: Precision = BASE
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        layer = self.plugin.layer(case.group, base, BATCH, 5)
        return torch.inference_mode()(layer)
