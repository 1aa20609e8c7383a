"""Contracts of plugins that score: what they see of the network, objectives and environments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..core.errors import BenchError
from ..core.precision import Precision
from .base import Plugin

if TYPE_CHECKING:
    import torch


class GroupAtPrecision(Protocol):
    """The layers of one group, side by side, at one precision.

    ``weight`` (out, in) is dequantized, in the basis of the transform; ``unrounded_weight`` (out,
    in) is the weight before rounding, less the branch where the recipe has one. ``source`` moves
    an input into that basis (``source.transform``) and, called, moves and quantizes an input.
    """

    source: Any

    @property
    def weight(self) -> torch.Tensor: ...
    @property
    def unrounded_weight(self) -> torch.Tensor: ...
    @property
    def bias(self) -> torch.Tensor | None: ...

    def branch_output(self, moved: torch.Tensor) -> torch.Tensor:
        """Apply the branches alone: moved input (..., in) to (..., out)."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map an input (n, tokens, in) to the output (n, tokens, out)."""


class QuantizableGroup(Protocol):
    """The layers of one group side by side, in full precision and at any precision."""

    name: str

    def full(self, x: torch.Tensor) -> torch.Tensor:
        """Map an input (n, tokens, in) to the output (n, tokens, out) of full precision."""

    def at(self, precision: Precision) -> GroupAtPrecision:
        """Return the layers at ``precision``."""


class Environment(Plugin, ABC):
    """Decides what the layers outside the groups under test do while the groups are scored."""

    kind: ClassVar[str] = "environment"

    @abstractmethod
    def layer(
        self, group: QuantizableGroup, base: Precision, inputs: int, seed: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function of ``group`` from input (n, tokens, in) to output (n, tokens, out).

        ``base`` is the precision of the budget. n is a multiple of ``inputs``: candidate after
        candidate with the same inputs in the same order. Random numbers are drawn from ``seed`` and
        must be the same for each candidate. The first call comes without any candidate.
        """


@dataclass(frozen=True)
class Sensitivity:
    """How a random projection of the network's output depends on one group, for some inputs.

    ``inputs`` (n, tokens, in) is the input of the group; ``gradient`` (n, tokens, out) that of
    ``<v, output>`` by the output of the group, for v of independent standard normal numbers;
    ``outputs`` counts the numbers of the network's output.
    """

    group: str
    inputs: torch.Tensor
    gradient: torch.Tensor
    outputs: int


class Network(Protocol):
    """What an objective sees of the network: groups in full precision and quantized."""

    groups: Sequence[str]

    def choices(self, group: str) -> Sequence[Precision]:
        """Return the precisions that ``group`` may take."""

    def group(self, name: str) -> QuantizableGroup:
        """Return the layers of a group."""

    def inputs(self, group: str) -> Iterator[torch.Tensor]:
        """Yield the inputs of ``group`` in full precision, batch by batch: (n, tokens, in)."""

    def sensitivities(self, probes: int, seed: int) -> Iterator[Sequence[Sensitivity]]:
        """Yield all groups' sensitivities, for every probe and batch: a forward and a backward."""


class Objective(Plugin):
    """Scores allocations; lower is better. Override ``table``, ``distance`` or both.

    - ``joint_only``: scores of single groups are never added up.
    - ``whole_batches``: the score of an input depends on the other inputs of its batch.
    - ``span``: with k above 1, batches are of whole runs of k consecutive steps of one image, and
      ``distance`` is given the output channels that the sampler reads.
    """

    kind: ClassVar[str] = "objective"
    joint_only: bool = False
    whole_batches: bool = False
    span: int = 1

    @property
    def steps_ahead(self) -> int:
        """After how many sampling steps ``distance`` compares latents; 0 compares outputs."""
        return 0

    @property
    def has_table(self) -> bool:
        """Whether the objective has additive scores of its own."""
        return type(self).table is not Objective.table

    @property
    def has_distance(self) -> bool:
        """Whether the objective has joint scores."""
        return type(self).distance is not Objective.distance

    def table_price(self, shares: Mapping[str, float], choices: Mapping[str, int]) -> float:
        """Return the most forwards that ``table`` takes; 0 where that is not known in advance.

        ``shares`` are the parts of one forward of all groups, in network order, and ``choices`` the
        numbers of precisions of the groups that are scored.
        """
        return 0.0

    def table(self, network: Network) -> Mapping[str, Sequence[float]]:
        """Return additive scores by group and choice; the default is joint scores of one group."""
        raise BenchError(f"objective {type(self).__name__} has no additive scores of its own")

    def distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return joint scores (candidates, n), to be averaged over inputs.

        ``outputs`` is (candidates, n, c, h, w), ``targets`` of full precision (n, c, h, w).
        """
        raise BenchError(f"objective {type(self).__name__} scores no whole allocation")
