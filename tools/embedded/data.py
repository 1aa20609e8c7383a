"""Fashion-MNIST from its IDX files, padded to 32x32."""

import gzip
from pathlib import Path

import numpy as np
import torch

CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not, as an array.

    Raises ValueError where the header is not that of unsigned bytes or the length is wrong.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        content = stream.read()
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    dimensions = content[3]
    shape = tuple(np.frombuffer(content, ">u4", dimensions, offset=4).astype(int))
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if data.size != np.prod(shape):
        raise ValueError(f"{path} holds {data.size} bytes, its header says {np.prod(shape)}")
    return data.reshape(shape)


def load_split(folder: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Load images uint8 (N, 1, 32, 32) and labels int64 (N,) of split ``train`` or ``t10k``."""
    images = read_idx(_find(folder, f"{split}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{split}-labels-idx1-ubyte"))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return torch.from_numpy(padded)[:, None], torch.from_numpy(labels.astype(np.int64))


def _find(folder: Path, stem: str) -> Path:
    for candidate in (folder / f"{stem}.gz", folder / stem):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{folder} holds no {stem}(.gz): install the Debian package dataset-fashion-mnist "
        "or give the folder of the four IDX files with --data"
    )


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 images to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1.0
