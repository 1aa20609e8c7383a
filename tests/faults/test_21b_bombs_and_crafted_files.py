"""21: small files that unpack to gigabytes, and files whose content is crafted or damaged."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image

from mpqbench.core.errors import BenchError
from mpqbench.metrics import npz
from mpqbench.metrics.features import load_extractor, usable_device
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import load_reference


def header(shape, dtype="|u1", version=b"\1\0"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


def archive(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def bomb(path, side=20_000):
    """Write a PNG of side x side black pixels in a few kilobytes."""

    def chunk(kind, data):
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side // 8 + 1)) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


@pytest.mark.parametrize("side", [5_000, 12_000, 20_000])
def test_image_bombs_are_refused_by_name_before_they_are_unpacked(tmp_path, side):
    Image.new("L", (32, 32)).save(tmp_path / "0.png")
    bomb(tmp_path / "1.png", side)
    with pytest.raises(BenchError, match=r"1\.png.*at most 16777216 pixels"):
        open_images(tmp_path)


@pytest.mark.parametrize("kind", ["mu", "sigma", "features", "count", "extractor", "arr_0"])
def test_a_reference_that_unpacks_to_gigabytes_is_refused_before(tmp_path, kind):
    path, size = tmp_path / "bomb.npz", 1 << 31
    shapes = {"features": (size // 512, 128), "arr_0": (1, 1 << 15, 1 << 16, 1)}
    dtype = {"features": "<f4", "arr_0": "|u1"}.get(kind, "<f8")
    shape = shapes.get(kind, (size // 8,))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in (("mu", np.zeros(128)), ("sigma", np.eye(128))):
            if name != kind:
                content = io.BytesIO()
                np.save(content, value)
                file.writestr(f"{name}.npy", content.getvalue())
        with file.open(f"{kind}.npy", "w") as member:
            member.write(header(shape, dtype))
            # An archive may declare any size: what is declared is looked at, not what is there.
            member.write(bytes(1000))
        file.getinfo(f"{kind}.npy").file_size = len(header(shape, dtype)) + size
    extractor = load_extractor("fashion")
    tracemalloc.start()
    try:
        with pytest.raises(BenchError, match=r"bomb\.npz"):
            load_reference(path, extractor)
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (header((10**9, 1)), "declares 1000000000 bytes"),
        (header((-1, 4)), "declares"),
        (header((2, 2)) + bytes(400), "declares 4 bytes"),
        (header((3,), "|O") + bytes(24), "dtype object"),
        (header((4,), version=b"\3\0") + bytes(4), "header of version"),
        (header("(" * 300) + bytes(4), "not a readable"),
        (header(4) + bytes(4), "not a readable"),
        (header((2,), "zzz") + bytes(4), "not a readable"),
        (b"\x93NUMPY", "not a readable"),
        (b"", "not a readable"),
    ],
)
def test_crafted_arrays_are_refused(tmp_path, content, sentence):
    path = archive(tmp_path / "x.npz", arr_0=content)
    with pytest.raises(BenchError, match=rf"x\.npz.*{sentence}"):
        open_images(path)


def test_encrypted_odd_and_double_members_are_refused(tmp_path):
    plain = header((2, 2)) + bytes(4)
    path = archive(tmp_path / "x.npz", arr_0=plain)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BenchError, match=r"x\.npz.*'arr_0' is encrypted"):
        npz.load(path, "arr_0")
    archive(path, zipfile.ZIP_BZIP2, arr_0=plain)
    with pytest.raises(BenchError, match=r"x\.npz.*'arr_0' is compressed in a way"):
        npz.load(path, "arr_0")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("arr_0.npy", plain)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("arr_0.npy", plain)
    with pytest.raises(BenchError, match=r"x\.npz holds two arrays of the name 'arr_0'"):
        npz.keys(path)


def mutants(content, count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        mutant = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            mutant[place] = rng.integers(0, 256)
        cut = rng.integers(1, len(content)) if rng.random() < 0.2 else len(content)
        yield bytes(mutant[:cut])


def survives(read, *arguments):
    """Call ``read``; only a BenchError may come of a damaged file."""
    with suppress(BenchError):
        read(*arguments)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_mutated_pngs_give_pixels_or_one_sentence(tmp_path, mode):
    content, path = io.BytesIO(), tmp_path / "0.png"
    noise = np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(content, format="PNG")
    for mutant in mutants(content.getvalue(), 150):
        path.write_bytes(mutant)
        survives(lambda: list(open_images(tmp_path).batches(1)))


def test_mutated_npz_files_give_arrays_or_one_sentence(tmp_path):
    content, path = io.BytesIO(), tmp_path / "x.npz"
    np.savez_compressed(content, arr_0=np.zeros((3, 4, 4, 1), np.uint8), classes=np.zeros(3, int))
    for mutant in mutants(content.getvalue(), 300):
        path.write_bytes(mutant)
        survives(lambda: list(open_images(path).batches(1)))
        survives(npz.load, path, "classes")


@pytest.mark.parametrize("name", ["fashion", "inception-adm", "clean-fid"])
@pytest.mark.parametrize(
    "content", [b"", b"hello", bytes(64), b"\x80\2}q\0.", b"PK\3\4" + bytes(60)]
)
@pytest.mark.filterwarnings("ignore:`torch.jit.load:FutureWarning")
def test_files_that_are_no_weights_are_refused(tmp_path, name, content):
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(BenchError, match=r"weights (does not hold|is not)"):
        load_extractor(name, tmp_path / "weights")


def test_weights_of_a_huge_network_allocate_nothing(tmp_path):
    from safetensors.torch import save_file

    save_file({"scale1.0.weight": torch.zeros(200_000, 1), "head.weight": torch.zeros(9, 1)},
              tmp_path / "x")  # fmt: skip
    with pytest.raises(BenchError, match="x does not hold FashionNet weights"):
        load_extractor("fashion", tmp_path / "x")


@pytest.mark.parametrize("name", ["meta", "gpu", "cuda:99", "", "xla", "hpu"])
def test_devices_that_compute_nothing_are_refused(name):
    with pytest.raises(BenchError, match=f"device '{name}' cannot be used here"):
        usable_device(name)
