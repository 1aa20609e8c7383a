"""Computations on a micro-batch in smaller parts, where a device has too little memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..core.errors import BenchError

_Tensors = tuple[torch.Tensor, ...]


@dataclass
class Halving:
    """Computes on all images of a micro-batch at once, and in halves once memory was short.

    Nothing is summed over images, but kernels for another number of rows may round otherwise: the
    last bits can differ. ``part`` is the number of images at a time, 0 for all; ``note`` says so.
    """

    device: str
    part: int = 0
    note: str = ""

    def __call__(self, compute: Callable[..., _Tensors], *images: torch.Tensor) -> _Tensors:
        """Return what ``compute`` makes of ``images``, each (n, ...), row by row.

        Raises BenchError where there is too little memory for a single image.
        """
        count = len(images[0])
        while True:
            size = min(self.part or count, count)
            try:
                parts = [
                    compute(*each) for each in zip(*(x.split(size) for x in images), strict=True)
                ]
            except torch.OutOfMemoryError:
                parts = []  # left here: the error holds what was computed
            if parts:
                joined = zip(*parts, strict=True)
                return parts[0] if len(parts) == 1 else tuple(torch.cat(part) for part in joined)
            self._halve(size, count)

    def _halve(self, size: int, count: int) -> None:
        if size == 1:
            raise BenchError(f"{self.device} has too little memory for a single image at a time")
        self.part = (size + 1) // 2
        if torch.device(self.device).type == "cuda":
            torch.cuda.empty_cache()
        self.note = (
            f"memory of {self.device} was short: micro-batches of {count} were computed in parts "
            f"of {self.part}, which may change last bits"
        )
