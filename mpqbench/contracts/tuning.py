"""Contracts of training after rounding: the student, the data and the tuner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from ..core.progress import Reporter
from .base import Plugin
from .layers import QuantizedWeight

if TYPE_CHECKING:
    import torch


class Curve(Protocol):
    """The course of a training: a row for every evaluation, and what ended the training."""

    rows: list[Any]
    stopped: str

    def write(self, path: Path) -> None:
        """Write a parquet file in one step."""


class Student(Protocol):
    """A quantized model that can be trained. What is changed through it stays counted.

    ``transformer`` is called with (latents, times, classes); ``layers`` are its quantized layers by
    path; ``rounded`` has the integers of layers whose weight is rounded.
    """

    transformer: Any
    layers: Mapping[str, Any]
    rounded: dict[str, QuantizedWeight]

    def branch(self, path: str) -> Any:
        """Return the branch of a layer, or ``None``."""

    def branchable(self, path: str) -> bool:
        """Return whether a branch may be added beside the layer."""

    def add_branch(self, path: str, branch: Any) -> None:
        """Put a new branch beside a layer and into the count of the model's cost."""

    def set_quantized_weight(self, path: str, rounded: QuantizedWeight) -> None:
        """Replace the integers and quantization parameters of a layer in the count."""

    def training_mode(self, checkpointing: bool) -> AbstractContextManager[None]:
        """Freeze the model's own parameters while inside."""


@dataclass(frozen=True)
class Recorded(ABC):
    """Inputs of the transformer with the outputs of full precision, row by row.

    latents (n, c, h, w) float32, times and classes (n,), ``images`` (n,) the number of the image of
    each row, ``signal`` (n,) float32 the share of the clean image in the variance of each latent,
    outputs (n, channels, h, w) float32 of the channels that the sampler reads: the predicted noise,
    and the variance where it is learned and used.
    """

    latents: torch.Tensor
    times: torch.Tensor
    classes: torch.Tensor
    images: torch.Tensor
    signal: torch.Tensor
    outputs: torch.Tensor

    def __len__(self) -> int:
        return len(self.latents)

    @property
    @abstractmethod
    def inputs(self) -> Any:
        """Latents, times and classes."""

    def rows(self, at: torch.Tensor | slice) -> Self:
        """Return the rows at indices ``at``."""
        return type(self)(*(getattr(self, f.name)[at] for f in fields(self)))

    @abstractmethod
    def spans(self, length: int) -> torch.Tensor:
        """Return indices (m, length) of all runs of consecutive steps of one image."""

    @abstractmethod
    def minibatch(self, step: int, size: int, seed: int, span: int = 1) -> Self:
        """Return the ``size`` rows of training step ``step``, a function of the arguments alone."""


@dataclass(frozen=True)
class DistillationData:
    """What a tuner is given beside the student.

    ``held_out`` comes from other noise than ``train``; random numbers come from ``seed`` alone. A
    tuner must save to ``checkpoint`` and resume a training that is stored there.
    """

    train: Recorded
    held_out: Recorded
    seed: int
    device: str
    checkpoint: Any
    reporter: Reporter = field(default_factory=Reporter)


class Tuner(Plugin, ABC):
    """Trains a quantized model after rounding.

    ``trajectories`` and ``held_out`` are how many full-precision images the student is trained and
    evaluated on; with 0 nothing is recorded. The errors of ``span`` consecutive steps of one image
    are summed in the loss.
    """

    kind: ClassVar[str] = "tuner"
    trajectories: int = 0
    held_out: int = 0
    span: int = 1

    @abstractmethod
    def tune(self, student: Student, data: DistillationData) -> Curve:
        """Train the student in place and return the course of the training.

        Afterwards weights are the values of ``student.rounded``, and no parameter requires a
        gradient. Change branches and quantization parameters through ``student`` alone, so that
        the harness counts their cost.
        """
