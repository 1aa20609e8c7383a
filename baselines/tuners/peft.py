"""Parameter-efficient tuning: branches and scales, with the integers of the weights frozen."""

from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt

from mpqbench.contracts import plugin
from mpqbench.core.errors import BenchError
from mpqbench.dit.sampling import image_seed
from mpqbench.quant.trainable import Free, FrozenIntegers, low_rank_adapter
from mpqbench.tuning.distil import TrainedParts, retrain
from mpqbench.tuning.loop import TrainingCurve
from mpqbench.tuning.settings import Training
from mpqbench.tuning.student import DistillationData, QuantizedStudent


@plugin
class PEFT(Training):
    """Distils full precision into branches, scales, zero points and biases (our choice of parts).

    The weight stays ``s (q - z)`` with the integers q that rounding chose, a byte each while
    training, as QLoRA (arXiv 2305.14314) keeps its frozen weights. Trained are:

    - ``adapter``: ``branch``, the branches that the recipe put beside layers, at their own bits;
      ``lora``, a branch of ``rank`` at 16 bits beside every searchable layer that has none (arXiv
      2106.09685), whose bytes and BitOPs are counted but come on top of the budget, which was
      spent before; ``both``; or ``none``;
    - ``scales``: s, with LSQ's gradient (arXiv 1902.08153), in the logarithm; ``zeros``: z too, a
      real number from then on, counted at 16 bits instead of the weight's;
    - ``biases``.

    ``rate`` is that of adapters and biases, ``scale_rate`` that of log s, and of z in units of s.
    """

    adapter: Literal["branch", "lora", "both", "none"] = "branch"
    rank: PositiveInt = 4
    scales: bool = True
    zeros: bool = True
    biases: bool = True
    rate: PositiveFloat = 3e-3
    scale_rate: PositiveFloat = 3e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zeros and not self.scales:
            raise BenchError("zero points are trained with their scales: set zeros to false too")
        if self.zeros and self.weight_decay:
            raise BenchError("weight_decay would pull zero points to 0: set zeros to false with it")
        if self.adapter == "none" and not (self.scales or self.biases):
            raise BenchError("nothing to train: choose an adapter, scales or biases")

    def tune(self, student: QuantizedStudent, data: DistillationData) -> TrainingCurve:
        """Train in place. Raises Diverged where a loss is not finite."""
        branches = self._branches(student, data.seed)
        parts = TrainedParts(self.rate, self.scale_rate, branches=branches)
        for path, layer in student.layers.items():
            sources = parts.sources[path] = {}
            if self.scales and path in student.rounded:
                sources["weight"] = FrozenIntegers(student.rounded[path], self.zeros)
            if self.biases and layer.bias is not None:
                sources["bias"] = Free(layer.bias)
        return retrain(self, student, data, parts)

    def _branches(self, student: QuantizedStudent, seed: int) -> dict[str, Any]:
        """Return the branches to train by path, with those that are added here."""
        found: dict[str, Any] = {}
        for path, layer in student.layers.items():
            branch = student.branch(path)
            if branch is not None and self.adapter in ("both", "branch"):
                found[path] = branch
            if branch is None and self.adapter in ("both", "lora") and student.branchable(path):
                adapter_seed = image_seed(seed, f"adapter/{path}", 0)
                found[path] = low_rank_adapter(layer, self.rank, adapter_seed)
                student.add_branch(path, found[path])
        return found
