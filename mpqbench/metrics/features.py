"""From images to features: one interface for all feature networks."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ..core.errors import BenchError
from .images import ImageSource

BATCH = 50
Outputs = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]


class Features(NamedTuple):
    """float32: ``pooled`` (N, d), ``spatial`` (N, s) or None, ``logits`` (N, c) or None."""

    pooled: np.ndarray
    spatial: np.ndarray | None = None
    logits: np.ndarray | None = None


class FeatureNetwork(ABC):
    """A frozen network that judges images.

    name: as in ``extractors.load_extractor``. digest: of the weights. dimension: of the pooled
    features. spatial_dimension: None where the network has no spatial features. has_logits: whether
    an inception score can be computed. image_shape: (H, W, C) that it insists on, or None.
    stamped_only: whether references must say which network made them (see ``load_reference``).
    """

    name: str
    dimension: int
    spatial_dimension: int | None = None
    has_logits: bool = False
    image_shape: tuple[int, int, int] | None = None
    stamped_only: bool = False

    def __init__(self, module: nn.Module, device: str = "cpu") -> None:
        self.digest = weights_digest(module)
        self.device = usable_device(device)
        self.module = module.eval().to(self.device)

    @abstractmethod
    def prepare(self, images: np.ndarray) -> torch.Tensor:
        """What the network takes, from uint8 images (B, H, W, C)."""

    @abstractmethod
    def forward(self, inputs: torch.Tensor) -> Outputs:
        """Pooled, spatial and logits of one batch, on the network's device."""

    def check(self, source: ImageSource) -> None:
        """Raises BenchError where the images have a size that the network does not take."""
        if self.image_shape is not None and source.shape[:2] != self.image_shape[:2]:
            wanted = "x".join(str(side) for side in self.image_shape[:2])
            found = "x".join(str(side) for side in source.shape[:2])
            raise BenchError(f"{self.name} features need {wanted} images; {source.name}: {found}")

    def extract(
        self,
        source: ImageSource,
        batch_size: int = BATCH,
        device: str | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> Features:
        """Features of all images, in order.

        Every batch has exactly ``batch_size`` images (the last is filled up with black ones), so
        what comes out for an image does not depend on how many follow. ``device`` moves the
        network; ``advance`` is told the number of images after each batch. float32 without TF32.

        Raises BenchError for images that the network does not take or that cannot be read.
        """
        self.check(source)
        if device is not None:
            self.device = usable_device(device)
            self.module.to(self.device)
        collected: list[list[np.ndarray]] = []
        for images in source.batches(batch_size):
            collected.append([part[: len(images)] for part in self._pass(images, batch_size)])
            if advance is not None:
                advance(len(images))
        parts = [np.concatenate(part) for part in zip(*collected, strict=True)]
        return Features(
            parts[0],
            parts[1] if self.spatial_dimension is not None else None,
            parts[-1] if self.has_logits else None,
        )

    def _pass(self, images: np.ndarray, size: int) -> list[np.ndarray]:
        """The outputs that exist, in the order pooled, spatial, logits."""
        filled = np.zeros((size, *images.shape[1:]), dtype=np.uint8)
        filled[: len(images)] = images
        with torch.inference_mode(), _exact_float32():
            outputs = self.forward(self.prepare(filled).to(self.device))
        return [part.float().cpu().numpy() for part in outputs if part is not None]


@contextmanager
def _exact_float32() -> Iterator[None]:
    """float32 without shortcuts, whatever the sampling before allowed; then as it was."""
    held = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(held)


def weights_digest(module: nn.Module) -> str:
    """16 hex digits of the SHA-256 of all parameters and buffers, whatever file they came from."""
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):  # counts training steps, changes no output
            continue
        values = tensor.detach().cpu().contiguous()
        state.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        state.update(values.numpy().tobytes())
    return state.hexdigest()[:16]


def usable_device(name: str) -> torch.device:
    """The device called ``name``. Raises BenchError where this machine has no such device."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"device '{name}' cannot be used here: {reason}") from None
    return device
