"""What every objective promises."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..search.engine import Engine
from ..search.network import FullPrecision
from .check import Check, attempt, check_of, expect, own_generators_only, unmodified
from .engines import CHOICES, COARSE, FINE, tiny_engine, unchanged

SAME = 1e-5
WHERE = "a tiny DiT"
ANSWER = "every network must have an answer"
CANDIDATES = 4

Table = Mapping[str, Sequence[float]]


class ObjectiveChecks:
    """The checks of one objective: of its table, of its distance, or of both."""

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin
        self.span = plugin.span
        self.has_table, self.has_distance = plugin.has_table, plugin.has_distance

    def all(self) -> list[Check]:
        """All checks that its methods call for."""
        methods = [self.methods]
        methods += [self.table] if self.has_table else []
        if self.has_distance:
            methods += [self.distance, self.least, self.arguments]
            if not self.plugin.whole_batches:
                methods.append(self.independent)
        if self.has_table or self.has_distance:
            methods += [self.direction, self.deterministic, self.network]
        return [check_of(method) for method in methods]

    def methods(self) -> None:
        """It has a table of single groups, a distance of outputs, or both."""
        expect(
            self.has_table or self.has_distance,
            f"{type(self.plugin).__name__} has neither a method table nor a method distance",
        )

    def table(self) -> None:
        """Every group has a finite score for each of its choices."""
        table = self._table()
        expect(
            set(table) == set(self.engine.groups),
            f"{WHERE}: the table has groups {sorted(table)}, not {sorted(self.engine.groups)}",
        )
        for group, scores in table.items():
            given = np.shape(scores)
            expect(
                given == (len(CHOICES),),
                f"{WHERE}, group {group}: scores of shape {given} for {len(CHOICES)} choices",
            )
            for precision, score in zip(CHOICES, scores, strict=True):
                expect(np.isfinite(score), f"{WHERE}, group {group} at {precision}: score {score}")

    def distance(self) -> None:
        """Outputs (candidates, n, c, h, w) give finite scores (candidates, n)."""
        for dtype in (torch.float32, torch.bfloat16):
            outputs, targets = (each.to(dtype) for each in self._outputs())
            scores = self._distance(outputs, targets)
            where = f"outputs {tuple(outputs.shape)} {str(dtype).removeprefix('torch.')}"
            expect(
                scores.shape == outputs.shape[:2],
                f"{where}: scores {tuple(scores.shape)}, not {tuple(outputs.shape[:2])}",
            )
            bad = int((~scores.isfinite()).sum())
            expect(bad == 0, f"{where}: {bad} scores are not finite")

    def least(self) -> None:
        """No output scores better than full precision's own."""
        outputs, targets = self._outputs()
        own = self._distance(targets[None], targets)
        expect(own.isfinite().all(), f"outputs equal to the targets score {own.tolist()}")
        better = (self._distance(outputs, targets) < own).sum()
        expect(better == 0, f"{better} outputs with errors score better than without any")

    def independent(self) -> None:
        """A score depends on no other candidate and on no other input."""
        outputs, targets = self._outputs()
        together = self._distance(outputs, targets)
        by_candidate = [self._distance(each[None], targets) for each in outputs]
        by_input = [
            self._distance(outputs[:, at : at + 1], targets[at : at + 1])
            for at in range(len(targets))
        ]
        for what, parts in (
            ("candidate", torch.cat(by_candidate)),
            ("input", torch.cat(by_input, 1)),
        ):
            off = float((parts - together).abs().max())
            expect(
                off <= SAME * float(together.abs().max()),
                f"{CANDIDATES} candidates: scores {what} by {what} differ by {off:.3g} from those "
                "of all in one call",
            )

    def arguments(self) -> None:
        """Outputs and targets are not written into."""
        outputs, targets = self._outputs()
        with unmodified("distance", outputs=outputs, targets=targets):
            self._distance(outputs, targets)

    def direction(self) -> None:
        """Lower is better: 2 bits everywhere score worse than 8 bits everywhere."""
        sums = {}
        if self.has_table:
            table = self._table()
            for at in (COARSE, FINE):
                sums["table", at] = sum(own[CHOICES.index(at)] for own in table.values())
        if self.has_distance:
            both = [dict.fromkeys(self.engine.groups, at) for at in (COARSE, FINE)]
            errors = self.engine.errors(both, self.plugin.distance)
            for at, score in zip((COARSE, FINE), errors.mean(1), strict=True):
                sums["distance", at] = float(score)
        for method in {method for method, _ in sums}:
            coarse, fine = sums[method, COARSE], sums[method, FINE]
            expect(
                coarse > fine,
                f"{WHERE}: by {method}, {COARSE} everywhere scores {coarse:.4g} and {FINE} "
                f"{fine:.4g}; the lower score must be the better one",
            )

    def deterministic(self) -> None:
        """One network gives one result, and global random generators are left alone."""
        found = []
        for seed in (1, 2):
            with own_generators_only(WHERE, seed, "make its own from a parameter"):
                found.append(self._everything())
        same = all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
        expect(same, f"{WHERE}: two calls differ; they must be identical")

    def network(self) -> None:
        """The network is left as it is."""
        with unchanged(self.engine, WHERE):
            self._everything()

    @functools.cached_property
    def engine(self) -> Engine:
        """The tiny DiT, with batches of whole spans."""
        return tiny_engine(span=self.span)

    def _outputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        return _outputs(3 if self.span == 1 else 2 * self.span)

    def _everything(self) -> list[np.ndarray]:
        found = []
        if self.has_table:
            table = self._table()
            found += [np.asarray(table[group], dtype=float) for group in self.engine.groups]
        if self.has_distance:
            found.append(self._distance(*self._outputs()).double().numpy())
        return found

    def _table(self) -> Table:
        network = FullPrecision(self.engine, dict.fromkeys(self.engine.groups, CHOICES))
        found = attempt(WHERE, "table", lambda: self.plugin.table(network), ANSWER)
        expect(isinstance(found, Mapping), f"{WHERE}: the table is a {type(found).__name__}")
        return found

    def _distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found = attempt(
                f"outputs {tuple(outputs.shape)}",
                "distance",
                lambda: self.plugin.distance(outputs, targets),
                ANSWER,
            )
        kind = type(found).__name__
        expect(isinstance(found, torch.Tensor), f"distance gave a {kind}, not a tensor")
        return found


def _outputs(inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (4, n, 8, 8, 8) with smaller and smaller errors, and targets (n, 8, 8, 8)."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.randn(inputs, 8, 8, 8, generator=generator)
    noise = torch.randn(CANDIDATES, *targets.shape, generator=generator)
    sizes = 0.5 ** torch.arange(CANDIDATES).reshape(-1, 1, 1, 1, 1)
    return targets + sizes * noise, targets
