"""A folder of image files: which are read, which are skipped, and what their headers say."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from ..core.errors import BenchError

SUFFIXES = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
}
MAX_PIXELS = 1 << 24  # of one image: 4096 x 4096
_FORMAT_OF = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
_HIDDEN, _SYSTEM = "hidden files", "files of the operating system"  # kinds that are never a mistake
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}
_BELOW = "images in subfolders"
# Modes that are read, and what is said of those that are converted; the first letter is L for grey.
_MODES = {
    "L": "", "RGB": "",
    "1": "have one bit per pixel and are read as 8-bit grey",
    "P": "have a palette and are read as RGB",
    "LA": "have an alpha channel, opaque everywhere, which is dropped",
    "PA": "have a palette and an opaque alpha channel and are read as RGB",
    "RGBA": "have an alpha channel, opaque everywhere, which is dropped",
}  # fmt: skip
_ORIENTATION = 0x112


@dataclass(frozen=True)
class Skipped:
    """Files of one kind that are not read: how many, and the first of them."""

    kind: str
    count: int
    first: str


@dataclass(frozen=True)
class Listing:
    """The image files of a folder in the order of their paths, and what is skipped."""

    files: tuple[Path, ...]
    skipped: tuple[Skipped, ...]

    @property
    def of_concern(self) -> int:
        """The number of skipped files that may have been meant as images."""
        return sum(each.count for each in self.skipped if each.kind not in (_HIDDEN, _SYSTEM))

    def check(self, folder: Path) -> None:
        """Raise BenchError where no image is read, or fewer files than are skipped."""
        if self.files and self.of_concern <= len(self.files):
            return
        found = f"{len(self.files)} of {len(self.files) + self.of_concern}" if self.files else "no"
        reasons = f"; skipped {skipped_text(self.skipped)}" if self.skipped else ""
        hint = ""
        if any(each.kind == _BELOW for each in self.skipped):
            hint = " (--recursive of mpqbench score reads subfolders)"
        raise BenchError(
            f"{folder}: {found} files are images to read, and there are no sample shards"
            f"{reasons}{hint}; read are {', '.join(SUFFIXES)}"
        )


def _shown(name: str) -> str:
    """Return a name with what cannot be printed, such as control characters, as escapes."""
    return name if name.isprintable() else ascii(name)


def skipped_text(skipped: tuple[Skipped, ...]) -> str:
    """Return kinds, counts and first names in words."""
    return "; ".join(f"{each.kind}: {each.count} (first: {each.first})" for each in skipped)


def list_images(folder: Path, recursive: bool = False, apart: Collection[Path] = ()) -> Listing:
    """List the image files of ``folder``, and of its subfolders if ``recursive``.

    Hidden files (AppleDouble ``._x.png`` among them), files of operating systems and files with
    other suffixes are skipped and counted; the files ``apart`` are left out. Raises BenchError for
    a folder that cannot be read and for a link to an image that is missing.
    """
    files: list[Path] = []
    skipped: dict[str, list[str]] = {}
    try:
        for path, kind in _walk(folder, set()):
            if path in apart:
                continue
            below = kind == "image" and path.parent != folder and not recursive
            if kind == "image" and not below:
                files.append(path)
            elif below or recursive or path.parent == folder:
                name = _shown(path.relative_to(folder).as_posix())
                skipped.setdefault(_BELOW if below else kind, []).append(name)
    except OSError as error:
        raise BenchError(f"{folder} cannot be read: {error.strerror or error}") from None
    kinds = tuple(Skipped(kind, len(names), min(names)) for kind, names in sorted(skipped.items()))
    return Listing(tuple(sorted(files)), kinds)


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, str]]:
    """Yield every entry below ``folder`` with its kind; a folder that holds nothing is one."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        yield folder, "links to folders that are read already"
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in os.scandir(folder):
        path, suffix = folder / entry.name, Path(entry.name).suffix.lower()
        if entry.name.startswith("."):
            yield path, _HIDDEN
        elif entry.name.lower() in _SYSTEM_FILES:
            yield path, _SYSTEM
        elif entry.is_dir():
            below = list(_walk(path, seen))
            yield from below or [(path, "empty folders")]
        elif suffix not in _FORMAT_OF:
            yield path, f"{suffix} files" if suffix else "files without a suffix"
        elif entry.is_file():
            yield path, "image"
        elif entry.is_symlink():
            raise BenchError(f"{path} is a link to a file that does not exist")
        else:
            yield path, "no regular files"


class Facts(NamedTuple):
    """What the header of an image file says: format, (H, W, C), and what is worth a note."""

    format: str
    shape: tuple[int, int, int]
    remarks: tuple[str, ...]


def inspect(path: Path) -> Facts:
    """Read the header of an image file. Raises BenchError for one that cannot be read exactly."""
    with _opened(path) as image:
        remarks = [_MODES[image.mode]]
        if image.format == "JPEG":
            remarks.append("are JPEG, whose compression changes pixels")
        if image.format != _FORMAT_OF[path.suffix.lower()]:
            remarks.append("have another format than their suffix says")
        # Pillow decodes a PNG without EXIF to look for it, and turns a TIFF by itself.
        has_exif = "exif" in image.info and image.format != "TIFF"
        if has_exif and image.getexif().get(_ORIENTATION, 1) != 1:
            remarks.append("have an EXIF orientation, which is not applied")
        channels = 1 if image.mode[0] in "1L" else 3
        shape = (image.height, image.width, channels)
        return Facts(str(image.format), shape, tuple(filter(None, remarks)))


def read(path: Path) -> np.ndarray:
    """Read an image as uint8 (H, W, C), grey or RGB. Raises BenchError for transparent pixels."""
    with _opened(path) as image:
        grey = image.mode[0] in "1L"
        if image.mode.endswith("A") or "transparency" in image.info:
            alpha = image.convert("LA" if grey else "RGBA").getchannel("A")
            if np.asarray(alpha).min() < 255:
                raise BenchError(f"{path} has transparent pixels: put it on a background first")
        pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file. Raises BenchError for a defect, here and within the ``with``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, which are refused below
            with Image.open(path, formats=list(SUFFIXES)) as image:
                _check_header(path, image)
                yield image
    except BenchError:
        raise
    except Image.DecompressionBombError:
        raise BenchError(f"{path} is too large: at most {MAX_PIXELS} pixels are read") from None
    except Exception as error:  # Pillow raises almost everything for crafted files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BenchError(f"{path} is not a readable image, perhaps truncated: {reason}") from None


def _check_header(path: Path, image: ImageFile.ImageFile) -> None:
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width}x{image.height}"
        raise BenchError(f"{path} is {size}: at most {MAX_PIXELS} pixels are read")
    if getattr(image, "n_frames", 1) > 1:  # formats of one frame have no such field
        raise BenchError(
            f"{path} has {getattr(image, 'n_frames', 1)} frames: save one image a file"
        )
    tiles = repr(image.tile)
    deep = image.format in ("PNG", "TIFF") and ";16" in tiles
    plain = re.search(r"'ppm(?:_plain)?'.*, (\d+)\)\)", tiles)  # a PPM's largest value comes last
    if image.mode.startswith(("I", "F")) or deep or (plain and int(plain[1]) > 255):
        raise BenchError(f"{path} has over 8 bits per channel: convert it to 8 bits first")
    if image.mode not in _MODES:
        raise BenchError(f"{path} has mode {image.mode}: only grey (L) and RGB are read")


def remarks_of(facts: list[Facts], files: tuple[Path, ...]) -> tuple[str, ...]:
    """Return a sentence for each remark: on how many files, and on which first."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for fact, file in zip(facts, files, strict=True):
        for remark in fact.remarks:
            counts[remark] += 1
            first.setdefault(remark, _shown(file.name))
    return tuple(
        f"{count} of {len(files)} files {remark} (first: {first[remark]})"
        for remark, count in counts.items()
    )
