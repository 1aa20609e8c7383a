"""6: images are left out, or read as something else, without a word."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mpqbench.cli.score import score as command
from mpqbench.core.errors import BenchError
from mpqbench.metrics.images import open_images

GREY = np.random.default_rng(0).integers(0, 256, (8, 12, 10), dtype=np.uint8)


def write(folder, count=8, suffix=".png", mode="L", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(GREY[index]).convert(mode).save(folder / f"{index}{suffix}", **options)
    return folder


def pixels(source):
    return np.concatenate(list(source.batches(3)))


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".TIFF", ".pgm", ".webp"])
def test_lossless_files_of_any_case_are_read_exactly(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    source = open_images(write(tmp_path, suffix=suffix, **options))
    assert source.count == 8
    np.testing.assert_array_equal(pixels(source)[..., 0], GREY)


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".JPEG"])
def test_jpeg_files_are_read_and_said_to_be_jpeg(tmp_path, suffix):
    write(tmp_path, 3)
    source = open_images(write(tmp_path, 8, suffix))
    assert (source.count, source.formats) == (11, {"PNG": 3, "JPEG": 8})
    assert any("8 of 11 files are JPEG" in note for note in source.report)


def test_skipped_files_are_counted_by_kind(tmp_path):
    folder = write(tmp_path)
    for name in ("._0.png", "._1.png", ".DS_Store", "Thumbs.db", "labels.txt"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    write(folder / "more", 2)
    source = open_images(folder)
    kinds = {each.kind: (each.count, each.first) for each in source.skipped}
    assert kinds == {
        "hidden files": (3, ".DS_Store"),
        "files of the operating system": (1, "Thumbs.db"),
        ".txt files": (1, "labels.txt"),
        "images in subfolders": (2, "more/0.png"),
    }
    assert source.count == 8
    assert "images in subfolders: 2 (first: more/0.png)" in source.report[0]


def test_subfolders_are_read_when_asked(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, 4)
    os.symlink(tmp_path, tmp_path / "b" / "loop")
    with pytest.raises(BenchError, match=r"images in subfolders: 8.*--recursive"):
        open_images(tmp_path)
    source = open_images(tmp_path, recursive=True)
    assert source.count == 8
    assert "already" in source.report[0]


def test_a_folder_of_which_most_would_be_skipped_is_refused(tmp_path):
    write(tmp_path, 2)
    write(tmp_path / "more", 3)
    with pytest.raises(BenchError, match=r"2 of 5 files are images.*images in subfolders: 3"):
        open_images(tmp_path)


def test_a_link_to_a_missing_image_is_refused(tmp_path):
    (write(tmp_path) / "9.png").symlink_to("/nowhere/9.png")
    with pytest.raises(BenchError, match=r"9\.png is a link to a file that does not exist"):
        open_images(tmp_path)


@pytest.mark.parametrize(
    ("mode", "remark"), [("1", "one bit"), ("P", "palette"), ("LA", "alpha"), ("RGBA", "alpha")]
)
def test_conversions_without_loss_are_said(tmp_path, mode, remark):
    source = open_images(write(tmp_path, mode=mode))
    assert any("8 of 8 files have" in note and remark in note for note in source.report)
    expected = [np.asarray(Image.fromarray(each).convert(mode).convert("L")) for each in GREY]
    np.testing.assert_array_equal(pixels(source)[..., 0], expected)


def deep_colour(path):
    """Write a PNG of 16 bits per channel, which Pillow would cut to 8 without a word."""
    import struct
    import zlib

    def chunk(kind, data):
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    rows = b"".join(b"\0" + bytes(6 * 10) for _ in range(12))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 12, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: Image.fromarray(GREY[0].astype(np.uint16)).save(p), "over 8 bits per channel"),
        (deep_colour, "over 8 bits per channel"),
        (lambda p: Image.new("LA", (10, 12)).save(p), "transparent pixels"),
        (lambda p: Image.new("CMYK", (10, 12)).save(p, format="JPEG"), "mode CMYK"),
        (lambda p: Image.new("RGB", (10, 12)).save(p), "12x10x3, but 0.png is 12x10x1"),
        (lambda p: Image.new("L", (10, 11)).save(p), "11x10x1, but 0.png is 12x10x1"),
        (lambda p: p.write_bytes(b""), "not a readable image"),
        (
            lambda p: Image.new("L", (10, 12)).save(
                p, save_all=True, append_images=[Image.new("L", (10, 12), 9)]
            ),
            "2 frames",
        ),
    ],
)
def test_what_cannot_be_read_exactly_is_refused_by_name(tmp_path, spoil, sentence):
    spoil(write(tmp_path) / "9.png")
    with pytest.raises(BenchError, match=rf"9\.png.*{sentence}"):
        pixels(open_images(tmp_path))


def test_an_orientation_and_another_format_than_the_suffix_are_said(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    write(tmp_path, 7, exif=exif)
    Image.fromarray(GREY[7]).save(tmp_path / "7.png", format="BMP")
    notes = " ".join(open_images(tmp_path).report)
    assert "7 of 8 files have an EXIF orientation, which is not applied" in notes
    assert "1 of 8 files have another format than their suffix says (first: 7.png)" in notes


@pytest.mark.parametrize(
    ("names", "missing"), [(("0", "4"), None), (("0", "1"), None), (("0", "8"), 4), (("4",), 0)]
)
def test_a_missing_shard_is_refused(tmp_path, names, missing):
    for name in names:
        arrays = {"arr_0": np.zeros((4, 2, 2, 1), np.uint8), "classes": np.zeros(4, int)}
        np.savez(tmp_path / f"shard-{name}.npz", **arrays)
    if missing is None:
        assert open_images(tmp_path).count == 4 * len(names)
        return
    with pytest.raises(BenchError, match=f"shard of image {missing}: a shard is missing"):
        open_images(tmp_path)


def test_the_command_says_what_was_read_on_stderr_and_in_json(tmp_path):
    rng = np.random.default_rng(1)
    for index in range(20):
        image = Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8))
        image.save(tmp_path / f"{index}.png")
    (tmp_path / ".hidden.png").write_bytes(b"")
    done = CliRunner().invoke(command, [str(tmp_path), "--reference", "embedded", "--json"])
    assert done.exit_code == 0, done.output
    assert "20 images (20 PNG)" in done.stderr
    assert "skipped hidden files: 1 (first: .hidden.png)" in done.stderr
    result = json.loads(done.stdout)
    assert result["formats"] == {"PNG": 20}
    assert result["skipped"] == [{"kind": "hidden files", "count": 1, "first": ".hidden.png"}]
