"""Checks of objectives: of the table, of the distance, or of both."""

import functools
from collections.abc import Iterable

import numpy as np
import torch

from ..contracts import Objective
from ..quant.verify import expect, expect_tensor
from .check import Check, checks_of, expect_close, expect_repeatable
from .models import CHOICES, SampleNetwork

WHERE = "a tiny DiT"
CANDIDATES = 4


def checks(plugin: Objective, quick: bool) -> list[Check]:
    """Return all checks of an objective that its methods call for."""
    tests = _ObjectiveChecks(plugin)
    found = checks_of([WHERE], tests.table) if plugin.has_table else []
    if plugin.has_distance:
        found += checks_of([torch.float32, torch.bfloat16], tests.distance)
        found += [] if plugin.whole_batches else checks_of(["the distance"], tests.independent)
    return found + checks_of([WHERE], tests.direction, tests.repeatable)


class _ObjectiveChecks:
    def __init__(self, plugin: Objective) -> None:
        self.plugin = plugin

    def table(self, _: str) -> None:
        """Every group has a finite score for each of its choices."""
        table, groups = self.plugin.table(self.sample.network), self.sample.engine.groups
        expect(set(table) == set(groups), f"the table has groups {sorted(table)}, not {groups}")
        for group, scores in table.items():
            expect(
                np.shape(scores) == (len(CHOICES),) and np.isfinite(scores).all(),
                f"the scores of group {group} are {scores}, not {len(CHOICES)} finite numbers",
            )

    def distance(self, dtype: torch.dtype) -> None:
        """Outputs (candidates, n, c, h, w) give finite scores (candidates, n)."""
        outputs, targets = (each.to(dtype) for each in self._outputs())
        scores = self._distance(outputs, targets)
        expect_tensor("distance(...)", scores, outputs.shape[:2], scores.dtype)

    def independent(self, _: str) -> None:
        """A score depends on no other candidate and on no other input."""
        outputs, targets = self._outputs()
        together = self._distance(outputs, targets)
        alone = torch.empty_like(together)
        for candidate, n in np.ndindex(*together.shape):
            one = outputs[candidate, None, n : n + 1]
            alone[candidate, n] = self._distance(one, targets[n : n + 1])[0, 0]
        expect_close("scores one by one differ from those of one call", alone, together)

    def direction(self, _: str) -> None:
        """Lower is better: 2 bits everywhere score worse than 8 bits everywhere."""
        sums = {}
        if self.plugin.has_table:
            scores = np.array(list(self.plugin.table(self.sample.network).values())).sum(0)
            sums["table"] = scores[[0, -1]]
        if self.plugin.has_distance:
            ends = [dict.fromkeys(self.sample.engine.groups, p) for p in (CHOICES[0], CHOICES[-1])]
            sums["distance"] = self.sample.engine.errors(ends, self.plugin.distance).mean(1)
        expect(sums, "the objective has neither a method table nor a method distance")
        for what, (coarse, fine) in sums.items():
            expect(
                coarse > fine,
                f"by {what}, {CHOICES[0]} everywhere scores {coarse:.6g} and {CHOICES[-1]} "
                f"{fine:.6g}; lower must be better",
            )

    def repeatable(self, _: str) -> None:
        """One network gives one result; network, arguments and generators are left alone."""
        outputs, targets = self._outputs()
        expect_repeatable("parameters", self._everything, outputs=outputs, targets=targets)

    @functools.cached_property
    def sample(self) -> SampleNetwork:
        """The tiny DiT with inputs for this objective's span."""
        return SampleNetwork(self.plugin.span)

    def _everything(self, outputs: torch.Tensor, targets: torch.Tensor) -> Iterable[object]:
        if self.plugin.has_table:
            yield from self.plugin.table(self.sample.network).values()
        if self.plugin.has_distance:
            yield self._distance(outputs, targets).float()
        self.sample.expect_unchanged()

    def _distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self.plugin.distance(outputs, targets)

    def _outputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return outputs (4, n, 8, 8, 8) of smaller and smaller errors, and targets."""
        generator = torch.Generator().manual_seed(3)
        inputs = 3 if self.plugin.span == 1 else 2 * self.plugin.span
        targets = torch.randn(inputs, 8, 8, 8, generator=generator)
        noise = torch.randn(CANDIDATES, *targets.shape, generator=generator)
        sizes = 0.5 ** torch.arange(CANDIDATES).reshape(-1, 1, 1, 1, 1)
        return targets + sizes * noise, targets
