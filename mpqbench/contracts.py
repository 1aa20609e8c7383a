"""What a plugin author implements. Nothing else of mpqbench is needed to write one.

A plugin is a frozen dataclass whose fields are its parameters; it stores nothing else and does
its work in one method. Register it in the ``PLUGINS`` table of a module (see
``mpqbench.core.registry``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .core.formats import PER_CHANNEL, PER_TOKEN, ActivationFormat, WeightFormat
from .core.precision import FULL, Allocation, Budget, Precision

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .tuning.loop import Curve
    from .tuning.student import DistillationData, Student


@dataclass(frozen=True)
class LayerData:
    """What a plugin may know of the linear layer it works on; ``seed`` is the plugin's own.

    ``precision`` and the two formats are what the layer is about to get. The rest is calibration,
    ``None`` where the plugin did not set ``needs_inputs = True``:

    - ``inputs``: rows (n, in) float32 of a fixed sample, and ``times`` (n,) the step of each;
    - ``moment``: (in, in) float32, the mean of ``x x^T`` over *all* calibration rows x (half of
      the Hessian that GPTQ uses, arXiv 2210.17323, divided by the number of rows);
    - ``step_maxima``: (steps, in) float32, the largest ``|x|`` of each channel at each time step,
      and ``steps`` (steps,) those time steps, the noisiest first.

    A transform is given these in the layer's own basis, and the stacked weights of all layers that
    read one input; a rounding is given ``inputs``, ``times`` and ``moment`` in the new basis.
    """

    name: str
    in_features: int
    out_features: int
    inputs: torch.Tensor | None = None
    seed: int = 0
    times: torch.Tensor | None = None
    moment: torch.Tensor | None = None
    step_maxima: torch.Tensor | None = None
    steps: torch.Tensor | None = None
    precision: Precision = FULL
    weight_format: WeightFormat = PER_CHANNEL
    activation_format: ActivationFormat = PER_TOKEN


class FittedTransform(Protocol):
    """A linear change of basis that leaves ``input(x) @ weight(W).T`` equal to ``x @ W.T``.

    ``macs_per_token`` are the multiplications (or additions, where it has only those) that
    ``input`` does for one row; ``extra_bits`` what it stores.
    """

    macs_per_token: int
    extra_bits: int

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight (out, in) in the new basis; done once."""
        ...

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Input (..., in) in the new basis; done in every forward."""
        ...


class Transform(Protocol):
    """Finds a change of basis before rounding."""

    needs_inputs: bool = False

    def fit(self, weight: torch.Tensor, layer: LayerData) -> FittedTransform:
        """The basis for weight (out, in): of one layer, or stacked of those that share an input."""
        ...


@dataclass(frozen=True)
class QuantizedWeight:
    """Integers and the grid they live on.

    ``integers`` (out, in) int16; ``scale`` and ``zero`` (out or 1, groups) float32, where
    ``groups`` divides ``in``. The value is ``scale * (integers - zero)``.
    """

    integers: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor
    bits: int

    def dequantize(self) -> torch.Tensor:
        """Float weight (out, in)."""
        rows, columns = self.integers.shape
        blocks = self.integers.reshape(rows, self.scale.shape[1], -1).to(self.scale.dtype)
        values = self.scale[..., None] * (blocks - self.zero[..., None])
        return values.reshape(rows, columns)


class Rounding(Protocol):
    """Turns a weight matrix into integers on a grid."""

    needs_inputs: bool = False

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Integers for weight (out, in) at ``bits`` in format ``fmt``."""
        ...


@dataclass(frozen=True)
class BlockData:
    """A transformer block whose layers are rounded together.

    ``weights`` (out, in) in their new basis, ``layers`` and ``bits`` are by layer path. ``targets``
    (n, tokens, width) float32 is what the full-precision block gives on its calibration inputs;
    ``forward(weights, indices)`` what it gives with these weights on the inputs at ``indices``
    (k,), activations quantized as they will be: (k, tokens, width), differentiable in ``weights``.
    """

    name: str
    weights: Mapping[str, torch.Tensor]
    layers: Mapping[str, LayerData]
    bits: Mapping[str, int]
    targets: torch.Tensor
    forward: Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]
    seed: int = 0


@runtime_checkable
class BlockRounding(Protocol):
    """A rounding that can also see a whole block; it does so where ``by_block`` is true."""

    by_block: bool

    def round_block(self, block: BlockData, fmt: WeightFormat) -> Mapping[str, QuantizedWeight]:
        """Integers for every layer of ``block.weights``."""
        ...


@dataclass(frozen=True)
class BranchSize:
    """What a branch takes, known from the shape of its layer before anything is fitted.

    ``numbers`` are the values it stores, at ``bits`` (8 or 16) each, and ``macs_per_token`` the
    multiplications it does for one row, both operands at ``bits``. ``extra_bits`` is what it stores
    besides: scales (16 each), indices, permutations.
    """

    numbers: int
    macs_per_token: int
    bits: int = 16
    extra_bits: int = 0

    @property
    def stored_bits(self) -> int:
        """Everything it stores, in bits."""
        return self.numbers * self.bits + self.extra_bits


class FittedBranch(Protocol):
    """A structured matrix M (out, in), applied as products that never build it.

    An ``nn.Module`` whose tensors are its own, so that they move with the model. At 8 bits its
    numbers lie on 8-bit grids, the harness quantizes its input to 8 bits per token, and what passes
    between its products has 8 bits too.
    """

    size: BranchSize

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Input (..., in) to ``x @ M.T`` (..., out)."""
        ...

    def dense(self) -> torch.Tensor:
        """M itself (out, in) float32."""
        ...


class Branch(Protocol):
    """A small path beside the rounded weight: ``W x ~ Q(W - M) Q(x) + M x``.

    The harness alternates fitting M and rounding what M leaves for up to ``iterations`` rounds,
    from the weight itself or, with ``init = "residual"``, from what rounding it lost. Both may be
    missing: one round, from the weight. With a method ``refit(before, target, layer)`` that is
    called in place of ``fit`` from the second round on, with the branch of the round before: what
    ``fit`` decides by rule, such as an order of channels, has to stay for the turns to converge.
    Neither ``before`` nor ``target`` is written into.
    """

    needs_inputs: bool = False

    def size(self, out_features: int, in_features: int) -> BranchSize | None:
        """What the branch of a layer takes; ``None`` for no branch there."""
        ...

    def fit(self, target: torch.Tensor, layer: LayerData) -> FittedBranch:
        """The best approximation of target (out, in) that it can represent; of zero, zero.

        ``layer`` has ``inputs``, ``times`` and ``moment`` in the basis of ``target``.
        """
        ...


class GroupForm(Protocol):
    """A group of layers at one precision; ``weight`` is rounded, ``basis`` the same before.

    Both (out, in) in the basis of ``source``, whose ``transform`` moves an input there and which,
    called, moves and quantizes it. Where the recipe has a branch M, ``basis`` is the weight less M.
    """

    weight: torch.Tensor
    basis: torch.Tensor
    bias: torch.Tensor | None
    source: Any

    def branch_output(self, moved: torch.Tensor) -> torch.Tensor:
        """What the branches give beside ``weight``: moved input (..., in) to (..., out)."""
        ...

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Input (n, tokens, in) to output (n, tokens, out)."""
        ...


class QuantizableGroup(Protocol):
    """The layers of one group side by side, in full precision and at any precision."""

    name: str

    def full(self, x: torch.Tensor) -> torch.Tensor:
        """Input (n, tokens, in) to output (n, tokens, out) in full precision."""
        ...

    def at(self, precision: Precision) -> GroupForm:
        """The layers at ``precision``."""
        ...


class Environment(Protocol):
    """What the layers outside the groups under test do while those are scored."""

    def layer(
        self, group: QuantizableGroup, base: Precision, inputs: int, seed: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """The function of ``group`` from input (n, tokens, in) to output (n, tokens, out).

        ``base`` is the budget's precision. n is a multiple of ``inputs``: candidate after
        candidate with the same inputs in the same order. Anything random must be the same for
        each of them, and is drawn from ``seed``. The first call is the environment alone.
        """
        ...


@dataclass(frozen=True)
class Sensitivity:
    """How a random projection of the network's output depends on one group, for some inputs.

    ``inputs`` (n, tokens, in) is what the group reads, ``gradient`` (n, tokens, out) that of
    ``<v, output>`` by what it gives, for v of independent standard normal numbers, ``outputs`` how
    many numbers that output has.
    """

    group: str
    inputs: torch.Tensor
    gradient: torch.Tensor
    outputs: int


class Network(Protocol):
    """What an objective sees of the network: groups in full precision and quantized."""

    groups: Sequence[str]

    def choices(self, group: str) -> Sequence[Precision]:
        """Precisions that ``group`` may take."""
        ...

    def group(self, name: str) -> QuantizableGroup:
        """The layers of a group."""
        ...

    def inputs(self, group: str) -> Iterator[torch.Tensor]:
        """What ``group`` reads in full precision, batch by batch: (n, tokens, in)."""
        ...

    def sensitivities(self, probes: int, seed: int) -> Iterator[Sequence[Sensitivity]]:
        """For every probe and every batch, those of all groups: one forward and backward each."""
        ...


class Objective(Protocol):
    """Scores allocations; lower is better. Either method may be missing, not both.

    With a class attribute ``needs_trajectory = True`` and a field ``steps``, what ``distance``
    compares are latents after so many sampling steps in place of one forward's outputs. With
    ``joint_only = True`` nobody adds its scores of single groups; with ``whole_batches = True`` an
    input's score depends on the others of its batch. With a field ``span`` of k, calibration inputs
    are runs of k consecutive steps of one image, batches are of whole runs, and ``distance`` is
    given the output channels that the sampler reads.
    """

    def table(self, network: Network) -> Mapping[str, Sequence[float]]:
        """Additive scores of every group, in the order of its choices."""
        ...

    def distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Joint scores (candidates, n) of outputs (candidates, n, c, h, w) against full precision's
        targets (n, c, h, w). Averaged over inputs; the table is then each group alone."""
        ...


class SearchProblem(Protocol):
    """All a searcher can see: it cannot reach the model, so every searcher is counted alike.

    Costs add up over groups, in one or several measures, BitOPs first; ``units`` says what each
    counts ("BitOPs", "bytes", "weight bits"). Scores are better when lower. ``spent`` and
    ``allowance`` are evaluations in full forwards of the calibration set: ``table``, ``score`` and
    ``score_many`` raise Exhausted instead of spending more.
    """

    groups: Sequence[str]
    units: Sequence[str]
    budget: Budget
    rng: np.random.Generator
    spent: float
    allowance: float

    def choices(self, group: str) -> Sequence[Precision]:
        """Precisions that ``group`` may take, cheapest first."""
        ...

    def costs(self, group: str) -> np.ndarray:
        """What each choice of ``group`` adds: (choices, measures) float64."""
        ...

    def limits(self) -> np.ndarray:
        """The most an allocation may cost in each measure: (measures,), infinity for no bound."""
        ...

    def cost(self, allocation: Mapping[str, Precision]) -> float:
        """The first measure of an allocation, which may be partial."""
        ...

    def limit(self) -> float:
        """The bound on ``cost``."""
        ...

    def fits(self, allocation: Mapping[str, Precision]) -> bool:
        """Whether ``allocation`` keeps every limit."""
        ...

    def table(self) -> Mapping[str, np.ndarray]:
        """Additive scores by group, in the order of its choices: (choices,) float64 each."""
        ...

    def score(self, allocation: Mapping[str, Precision]) -> float:
        """Joint score; the groups that a partial allocation leaves out are in the environment."""
        ...

    def score_many(self, allocations: Sequence[Mapping[str, Precision]]) -> np.ndarray:
        """Joint scores (n,) float64, often much faster than one by one."""
        ...

    def best(self) -> Allocation | None:
        """The best complete allocation within the limits that was scored jointly so far."""
        ...

    def note(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Adds rows to a table that is kept beside the trace, for figures and for the curious."""
        ...


class Searcher(Protocol):
    """Finds an allocation within the budget.

    ``scored`` is false of one that never asks the problem for a score: objective, environment and
    allowance then change nothing, and an ablation does not run such jobs twice.
    """

    scored: bool = True

    def search(self, problem: SearchProblem) -> Allocation:
        """An allocation for every group. Raises Infeasible where none meets the budget."""
        ...


class Tuner(Protocol):
    """Trains a quantized model after rounding.

    ``trajectories`` and ``held_out`` are how many images of full precision it learns from and is
    judged on; with 0 nothing is recorded.
    """

    trajectories: int
    held_out: int

    def tune(self, student: Student, lessons: DistillationData) -> Curve:
        """Change the student in place; afterwards it is a plain quantized model.

        Weights lie on the grids of ``student.rounded`` and nothing in it can be trained any more.
        Costs are counted by the harness, which is told through ``student`` of every branch that was
        added and every grid that changed. The course of the training comes back.
        """
        ...


@dataclass(frozen=True)
class Prediction:
    """What a model predicts in one sampling step, (n, c, h, w) float32 each.

    ``noise`` is guided, as the sampler reads it; ``contrast`` the prediction with the class less
    the one without, all zero where there is no guidance.
    """

    noise: torch.Tensor
    contrast: torch.Tensor


@dataclass(frozen=True)
class CorrectionStep:
    """One sampling step of some images, as the quantized model and full precision take it.

    Both began with the same noise. ``latents`` (n, c, h, w) float32 is where the corrected steps
    before this one have led, ``quantized`` what the quantized model predicts there and ``full``
    what full precision predicts there. ``path`` is where full precision's own way has led,
    ``path_full`` what it predicts there, and ``wanted`` (n, c, h, w) the noise that would take
    ``latents`` back onto that way in this one step. ``signal``, between 0 and 1, is the share of
    the clean image in the variance: a latent is ``sqrt(signal) image + sqrt(1 - signal) noise``.
    """

    position: int
    steps: int
    signal: float
    latents: torch.Tensor
    quantized: Prediction
    full: Prediction
    path: torch.Tensor
    path_full: Prediction
    wanted: torch.Tensor


class FittedCorrection(Protocol):
    """The correction of one sampling step.

    ``numbers`` are the values it stores, 16 bits each, ``macs_per_value`` the multiplications for
    one number of a latent.
    """

    numbers: int
    macs_per_value: int

    def __call__(self, prediction: Prediction, latents: torch.Tensor) -> torch.Tensor:
        """The noise (n, c, h, w) float32 to go on with, of latents (n, c, h, w) float32."""
        ...


class Correction(Protocol):
    """Gives back what quantization takes from all images alike, in the sampler, step by step.

    ``images`` is how many of them it is fitted on; with 0 there is none. Steps are fitted in their
    order, on noise that nothing else uses, and every image of a step is corrected by itself.
    """

    images: int

    def fit(self, step: CorrectionStep) -> FittedCorrection:
        """The correction of ``step``."""
        ...
