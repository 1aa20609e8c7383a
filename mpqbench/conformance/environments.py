"""What every environment promises."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch

from ..contracts import Environment
from ..core.errors import BenchError
from ..core.precision import FULL, Precision
from ..search.engine import Engine
from ..search.groups import SearchableGroup
from ..search.network import FullPrecision
from .check import Check, attempt, check_of, expect, own_generators_only, unmodified
from .engines import BASE, BATCH, CHOICES, COARSE, tiny_engine, unchanged

SAME = 1e-5
WHERE = "a tiny DiT"
BASES = (BASE, Precision(8, 8), Precision(2, 4))
ANSWER = "every layer must have an answer"

Layer = Callable[[torch.Tensor], torch.Tensor]


class EnvironmentChecks:
    """The checks of one environment, on the groups of a tiny DiT and what they really read."""

    def __init__(self, plugin: Environment) -> None:
        self.plugin = plugin

    def all(self) -> list[Check]:
        """All checks."""
        methods = [self.output, self.candidates, self.deterministic, self.arguments, self.network]
        return [check_of(method) for method in (*methods, self.unnamed, self.engine)]

    def output(self) -> None:
        """Outputs are finite and have the shape and type of the full-precision layer's."""
        for base in BASES:
            for cell, x in self._groups():
                where, full = f"{cell.name} around {base}", cell.full(x)
                given = self._run(where, self._layer(cell, base), x)
                expect(
                    given.shape == full.shape and given.dtype == full.dtype,
                    f"{where}: output {_kind(given)}, not {_kind(full)}",
                )
                expect(given.isfinite().all(), f"{where}: the output is not finite")

    def candidates(self) -> None:
        """The same rows get the same output, whatever other candidates are in the batch."""
        for cell, x in self._groups():
            layer, other = self._layer(cell), 1.5 * x.flip(1)
            alone = self._run(cell.name, layer, x)  # the environment itself comes first
            for name, rows in (("itself", [x, x]), ("another one", [x, other, x])):
                together = self._run(cell.name, layer, torch.cat(rows))
                for at in (0, len(rows) - 1):
                    off = _off(together[at * BATCH : (at + 1) * BATCH], alone)
                    expect(
                        off <= SAME,
                        f"{cell.name}: beside {name}, candidate {at + 1} of {len(rows)} gets an "
                        f"output that is {off:.2g} of its size off from the one it gets alone",
                    )

    def deterministic(self) -> None:
        """One seed gives one output, and global random generators are left alone."""
        for cell, x in self._groups():
            pair = []
            for seed in (1, 2):
                with own_generators_only(cell.name, seed, "make its own from seed"):
                    pair.append(self._run(cell.name, self._layer(cell), x))
            expect(
                torch.equal(*pair),
                f"{cell.name}: two layers with one seed differ; they must be identical",
            )

    def arguments(self) -> None:
        """The input is not written into."""
        for cell, x in self._groups():
            layer, given = self._layer(cell), x.clone()
            with unmodified(cell.name, x=given):
                self._run(cell.name, layer, given)

    def network(self) -> None:
        """The groups and their quantized forms are left as they are."""
        with unchanged(self._engine, WHERE):
            for cell, x in self._groups():
                self._run(cell.name, self._layer(cell), x)

    def unnamed(self) -> None:
        """Where the budget names no precision it works, or says in a BenchError what it lacks."""
        for cell, x in self._groups():
            try:
                layer = self.plugin.layer(cell, FULL, BATCH, 1)
            except BenchError:
                continue
            given = self._run(f"{cell.name} around {FULL}", layer, x)
            expect(given.isfinite().all(), f"{cell.name} around {FULL}: the output is not finite")

    def engine(self) -> None:
        """An allocation scores the same alone and among others, in a whole network."""
        own = [{"blocks.0.mlp.up": p} for p in CHOICES]
        own += [{"blocks.0.attn.out": COARSE, "blocks.1.mlp.down": p} for p in CHOICES]

        def scores(several: list[dict[str, Precision]]) -> np.ndarray:
            engine = attempt(WHERE, "its layers", lambda: tiny_engine(self.plugin), ANSWER)
            return attempt(WHERE, "scoring", lambda: engine.errors(several), ANSWER)

        together = scores(own)
        expect(np.isfinite(together).all(), f"{WHERE}: a score in this environment is not finite")
        for at, alone in enumerate(map(scores, ([each] for each in own))):
            off = float(np.abs(alone[0] - together[at]).max() / together[at].max())
            names = ", ".join(f"{group} at {precision}" for group, precision in own[at].items())
            expect(
                off <= SAME,
                f"{names}: its score alone is {off:.2g} off from its score among {len(own)}",
            )

    @functools.cached_property
    def _engine(self) -> Engine:
        return tiny_engine()

    def _groups(self) -> Iterator[tuple[SearchableGroup, torch.Tensor]]:
        """Every group, and what it reads of the first 3 inputs: (3, tokens, in)."""
        network = FullPrecision(self._engine, dict.fromkeys(self._engine.groups, CHOICES))
        for name, cell in self._engine.searchable.items():
            yield cell, next(iter(network.inputs(name)))

    def _layer(self, cell: SearchableGroup, base: Precision = BASE) -> Layer:
        where = f"{cell.name} around {base}"
        return attempt(where, "layer", lambda: self.plugin.layer(cell, base, BATCH, 5), ANSWER)

    def _run(self, where: str, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found = attempt(where, "its layer", lambda: layer(x), ANSWER)
        expect(
            isinstance(found, torch.Tensor),
            f"{where}: its layer gave a {type(found).__name__}, not a tensor",
        )
        return found


def _off(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
