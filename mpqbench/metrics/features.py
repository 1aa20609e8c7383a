"""From images to features: one interface for all feature networks."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from ..core.errors import BenchError, unknown
from ..core.sources import read_digest
from .images import ImageSource, size_text

_Array = TypeVar("_Array")
BATCH = 50
# Imported only when a network is asked for.
EXTRACTORS = {
    "emoji": "emoji_net:EmojiNetwork",
    "fashion": "fashion_net:FashionNetwork",
    "inception-adm": "inception:InceptionNetwork",
    "clean-fid": "inception:CleanFidNetwork",
}
SPATIAL_CHANNELS = 7  # the ADM evaluator takes as many channels of a feature map for sFID


class FeatureSet(NamedTuple, Generic[_Array]):
    """Features of N images, float32: ``pooled`` (N, d), ``spatial`` (N, s), ``logits`` (N, c)."""

    pooled: _Array
    spatial: _Array | None = None
    logits: _Array | None = None

    def not_finite(self) -> str | None:
        """Return a sentence on the first image with a feature that is not finite, if any has."""
        for key, values in self._asdict().items():
            if values is not None and not np.isfinite(values).all():
                first = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
                return f"the {key} features of image {first} are not finite"
        return None


Outputs = FeatureSet[torch.Tensor]  # of one batch
Features = FeatureSet[np.ndarray]  # of all images


class FeatureNetwork(ABC):
    """A frozen network whose features of images are compared.

    name: the name that ``load_extractor`` takes. digest: of the weights. dimension: of the pooled
    features. spatial_dimension: of the spatial features, None where there are none. image_shape:
    the only (H, W, C) that the network takes, None for any. stamped_only: whether a reference must
    say which network made it. is_published: whether the weights are those of the file that the name
    stands for.
    """

    name: str
    dimension: int
    spatial_dimension: int | None = None
    image_shape: tuple[int, int, int] | None = None
    stamped_only: bool = False

    def __init__(self, module: nn.Module, weights: Path, published: str, device: str) -> None:
        """Use ``module``, of the file ``weights``; ``published`` is the known file's SHA-256."""
        self.digest = weights_digest(module)
        self.is_published = read_digest(weights) == published
        self.device = usable_device(device)
        self.module = module.eval().to(self.device)

    @property
    def title(self) -> str:
        """The name, with the digest of weights that are not the published ones."""
        return self.name if self.is_published else f"{self.name} {self.digest[:8]}"

    @abstractmethod
    def prepare(self, images: np.ndarray) -> torch.Tensor:
        """Convert uint8 images (B, H, W, C) to the network's input."""

    def _prepared(self, source: ImageSource, images: np.ndarray) -> torch.Tensor:
        try:
            return self.prepare(images).to(self.device)
        except BenchError as error:
            raise BenchError(f"{source.name}: {error}") from None

    @abstractmethod
    def forward(self, inputs: torch.Tensor) -> Outputs:
        """Return the features of one batch, on the network's device."""

    def ranks(self, pooled: np.ndarray, names: np.ndarray) -> np.ndarray | None:
        """Return how many names are likelier than the asked one, (N,); ``None`` without names."""
        return None

    def check(self, source: ImageSource) -> None:
        """Raise BenchError where the images have a size that the network does not take."""
        if self.image_shape is not None and source.shape[:2] != self.image_shape[:2]:
            wanted, found = (size_text(s[:2]) for s in (self.image_shape, source.shape))
            raise BenchError(f"{self.name} features need {wanted} images; {source.name}: {found}")

    def extract(
        self,
        source: ImageSource,
        batch_size: int = BATCH,
        advance: Callable[[int], None] | None = None,
    ) -> Features:
        """Compute the features of all images, in order, in float32 without TF32.

        The last batch is filled up with black images to ``batch_size``, so that the features of an
        image do not depend on how many follow. ``advance`` is called with the number of images
        after each batch. Raises BenchError for images that cannot be read or do not fit.
        """
        self.check(source)
        collected: dict[str, list[np.ndarray]] = {}
        for images in source.batches(batch_size):
            filled = np.zeros((batch_size, *images.shape[1:]), dtype=np.uint8)
            filled[: len(images)] = images
            with torch.inference_mode(), exact_float32():
                outputs = self.forward(self._prepared(source, filled))
            for name, output in outputs._asdict().items():
                if output is not None:
                    rows = output.float().cpu().numpy()[: len(images)]
                    collected.setdefault(name, []).append(rows)
            if advance is not None:
                advance(len(images))
        return Features(**{name: np.concatenate(parts) for name, parts in collected.items()})


@contextmanager
def exact_float32() -> Iterator[None]:
    """Turn off TF32 and other shortcuts, and restore the settings afterwards."""
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
    """Return 16 hex digits of the SHA-256 of all parameters and buffers, whatever their file."""
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):  # counts training steps, changes no output
            continue
        values = tensor.detach().cpu().contiguous()
        state.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        state.update(values.numpy().tobytes())
    return state.hexdigest()[:16]


def usable_device(name: str) -> torch.device:
    """Return the device called ``name``. Raises BenchError where the device cannot compute here.

    Statistics need float64, which not every kind of device has.
    """
    try:
        device = torch.device(name)
        square = torch.ones(2, 2, device=device, dtype=torch.float64)
        float((square @ square).sum())
    except Exception as error:  # each kind of device raises types of its own
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise BenchError(f"device '{name}' cannot be used here: {reason[:160]}") from None
    return device


def load_extractor(
    name: str, weights: str | Path | None = None, device: str = "cpu"
) -> FeatureNetwork:
    """Load the feature network ``name``, with its own weights or those of the file ``weights``.

    ``inception-adm`` and ``clean-fid`` download their own weights once. Raises BenchError for an
    unknown name or device, an unsuitable file, a failed download and a missing package.
    """
    if name not in EXTRACTORS:
        raise unknown("feature network", name, EXTRACTORS)
    path = None if weights is None else Path(weights)
    if path is not None and not path.is_file():
        raise BenchError(f"{path} does not exist: --feature-weights takes a file of weights")
    module, _, network = EXTRACTORS[name].partition(":")
    return getattr(import_module(f".{module}", __package__), network)(path, device)
