"""What an objective sees of the network: an engine's groups, inputs and gradients."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch

from ..contracts import Sensitivity
from ..core.precision import Precision
from ..quant.group import QuantizedGroup
from .engine import Batch, Engine
from .groups import SearchableGroup


class CountedGroup:
    """A ``contracts.QuantizableGroup`` whose forwards the engine counts as those of a stage."""

    def __init__(self, engine: Engine, stage: int) -> None:
        self.name = engine.groups[stage]
        self._group, self._count = engine.searchable[self.name], partial(engine.count, stage)

    def full(self, x: torch.Tensor) -> torch.Tensor:
        self._count(len(x))
        return self._group.full(x)

    def at(self, precision: Precision) -> QuantizedGroup:
        return self._group.at(precision).counted(self._count)


class FullPrecision:
    """The groups of an engine while the network is in full precision: a ``contracts.Network``.

    Only groups that have choices are shown: a study of regret searches the last few.
    """

    def __init__(self, engine: Engine, of_group: Mapping[str, Sequence[Precision]]) -> None:
        self.engine, self.of_group = engine, of_group
        self.groups: Sequence[str] = tuple(group for group in engine.groups if group in of_group)

    def choices(self, group: str) -> Sequence[Precision]:
        return self.of_group[group]

    def group(self, name: str) -> CountedGroup:
        return CountedGroup(self.engine, self.engine.groups.index(name))

    def inputs(self, group: str) -> Iterator[torch.Tensor]:
        """Yield the inputs of ``group`` in full precision, batch by batch: (n, tokens, in)."""
        last = self.engine.groups.index(group)
        for batch in self.engine.batches:
            with torch.inference_mode():
                state = self.engine.chain.start(batch.latents, batch.conditions)
                for at, before in enumerate(self.engine.groups[:last]):
                    layer = self.group(before).full
                    state = self.engine.chain.run(at, state, batch.conditions, layer)
                yield self.engine.chain.input(last, state, batch.conditions)

    def sensitivities(self, probes: int, seed: int) -> Iterator[Sequence[Sensitivity]]:
        """Yield the sensitivities of all ``groups``, for every probe and every batch."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(probes):
            for batch in self.engine.batches:
                projection = torch.randn(batch.targets.shape, generator=generator)
                yield self._one(batch, projection.to(batch.targets))

    def _one(self, batch: Batch, projection: torch.Tensor) -> Sequence[Sensitivity]:
        chain = self.engine.chain
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []

        def watched(group: SearchableGroup):  # type: ignore[no-untyped-def]
            def layer(x: torch.Tensor) -> torch.Tensor:
                output = group.full(x)
                if not output.requires_grad:
                    output.requires_grad_()  # the first group: nothing before it has a gradient
                seen.append((x.detach(), output))
                return output

            return layer

        with torch.enable_grad():
            state = chain.start(batch.latents, batch.conditions)
            for at, group in enumerate(self.engine.searchable.values()):
                state = chain.run(at, state, batch.conditions, watched(group))
            output = chain.finish(state, batch.conditions)
            gradients = torch.autograd.grad((output * projection).sum(), [y for _, y in seen])
        # Three forwards: a backward pass costs about two.
        self.engine.spend(3 * len(batch) / sum(map(len, self.engine.batches)))
        return [
            Sensitivity(name, x, gradient, output.numel())
            for name, (x, _), gradient in zip(self.engine.groups, seen, gradients, strict=True)
            if name in self.of_group
        ]
