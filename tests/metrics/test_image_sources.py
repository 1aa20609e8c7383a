import numpy as np
import pytest
from PIL import Image

from mpqbench.core.errors import BenchError
from mpqbench.metrics.images import first_images, open_images


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (150, 6, 5, 3), dtype=np.uint8)


def write_pngs(folder, pixels):
    folder.mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image.squeeze()).save(folder / f"{index:05d}.png")
    return folder


def write_shards(folder, pixels, sizes=(100, 50)):
    folder.mkdir()
    ends = np.cumsum(sizes)
    for start, end in zip(ends - sizes, ends, strict=True):
        path, classes = folder / f"shard-{start:05d}.npz", np.arange(start, end) % 10
        np.savez(path, arr_0=pixels[start:end], classes=classes)
    return folder


def test_every_storage_gives_the_same_images(tmp_path, pixels):
    np.savez(tmp_path / "plain.npz", pixels)
    np.savez_compressed(tmp_path / "small.npz", arr_0=pixels)
    sources = [
        pixels,
        tmp_path / "plain.npz",
        str(tmp_path / "small.npz"),
        write_pngs(tmp_path / "pngs", pixels),
        write_shards(tmp_path / "shards", pixels, (1, 99, 50)),
    ]
    digests = set()
    for spec in sources:
        source = open_images(spec)
        assert (source.count, source.shape) == (150, (6, 5, 3))
        for size in (1, 7, 64, 1000):
            batches = list(source.batches(size))
            assert {len(batch) for batch in batches[:-1]} <= {size}
            np.testing.assert_array_equal(np.concatenate(batches), pixels)
        digests.add(source.digest())
    assert len(digests) == 1
    assert len(digests.pop()) == 16


def test_the_digest_depends_on_levels_order_and_shape(pixels):
    touched = pixels.copy()
    touched[140, 0, 0, 0] ^= 1
    others = (pixels, touched, pixels[::-1], pixels.reshape(150, 5, 6, 3))
    assert len({open_images(each).digest() for each in others}) == 4


def test_shards_come_in_order_with_classes_and_before_pngs(tmp_path, pixels):
    folder = write_shards(tmp_path / "shards", pixels, (10,) * 15)
    Image.fromarray(pixels[0]).save(folder / "preview.png")
    source = open_images(folder)
    np.testing.assert_array_equal(next(source.batches(150)), pixels)
    np.testing.assert_array_equal(source.classes, np.arange(150) % 10)
    assert open_images(pixels).classes is None


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 4, 4, 3)), "dtype float64: images are uint8"),
        (np.zeros((2, 4, 4), np.uint8), r"shape \(2, 4, 4\): images are \(N, H, W, C\)"),
        (np.zeros((2, 3, 4, 4), np.uint8), "C 1 or 3"),
        (np.zeros((0, 4, 4, 3), np.uint8), "N above 0"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, array, sentence):
    with pytest.raises(BenchError, match=sentence):
        open_images(array)
    np.savez(tmp_path / "x.npz", array)
    with pytest.raises(BenchError, match=sentence):
        open_images(tmp_path / "x.npz")


def test_missing_and_empty(tmp_path):
    with pytest.raises(BenchError, match="nowhere does not exist"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(BenchError, match="no files are images to read"):
        open_images(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"pictures": np.zeros(3)}, "no array 'arr_0'"),
        ({"arr_0": np.array([{}], dtype=object)}, "dtype object"),  # and is not unpickled
        ({"arr_0": np.zeros((2, 4, 4, 3), np.uint8, order="F")}, "Fortran order"),
    ],
)
def test_npz_files_of_other_content(tmp_path, arrays, sentence):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(BenchError, match=sentence):
        open_images(tmp_path / "x.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_npz_files(tmp_path, pixels, save):
    path = tmp_path / "x.npz"
    save(path, pixels)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (whole[:-500], bytes(flipped), b"hello"):
        path.write_bytes(content)
        with pytest.raises(BenchError, match=r"not a readable \.npz file, perhaps truncated"):
            list(open_images(path).batches(10))


def test_mixed_sizes(tmp_path, pixels):
    folder = write_pngs(tmp_path / "pngs", pixels[:3])
    Image.fromarray(pixels[3, :4]).save(folder / "00003.png")
    with pytest.raises(BenchError, match=r"00003\.png is 4x5x3, but 00000\.png is 6x5x3"):
        list(open_images(folder).batches(2))
    shards = write_shards(tmp_path / "shards", pixels)
    np.savez(shards / "shard-00150.npz", arr_0=pixels[:2, :4], classes=np.zeros(2))
    with pytest.raises(BenchError, match="images of 4x5x3, those before 6x5x3"):
        open_images(shards)
    np.savez(shards / "shard-00150.npz", arr_0=pixels[:2], classes=np.zeros(3, int))
    with pytest.raises(BenchError, match=r"2 images but classes of shape \(3,\)"):
        open_images(shards)


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("RGBA", "has transparent pixels"),
        ("I;16", "over 8 bits per channel"),
        ("cut short", "not a readable image"),
    ],
)
def test_png_files_that_are_refused(tmp_path, mode, sentence):
    path = tmp_path / "x.png"
    Image.new("RGB" if " " in mode else mode, (40, 40)).save(path)
    if mode == "cut short":
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BenchError, match=sentence):
        list(open_images(tmp_path).batches(1))


def put_shard(folder, start, images):
    path = folder / f"shard-{start:08d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, arr_0=images, classes=np.zeros(len(images), np.int64))


def test_samples_come_back_in_order_over_shards(tmp_path):
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    put_shard(tmp_path / "a", 8, images[8:])  # written out of order, as parallel workers do
    put_shard(tmp_path / "a", 0, images[:8])
    assert np.array_equal(first_images(tmp_path / "a", 10), images[:10])
    assert np.array_equal(first_images(tmp_path / "a", 3), images[:3])
    with pytest.raises(BenchError, match="has 12 images, not 13"):
        first_images(tmp_path / "a", 13)


def test_samples_refuse_gaps_other_types_and_broken_files(tmp_path):
    images = np.zeros((4, 2, 2, 1), np.uint8)
    put_shard(tmp_path / "gap", 0, images)
    put_shard(tmp_path / "gap", 8, images)
    with pytest.raises(BenchError, match="does not follow"):
        first_images(tmp_path / "gap", 8)
    put_shard(tmp_path / "float", 0, images.astype(float))
    with pytest.raises(BenchError, match="float64"):
        first_images(tmp_path / "float", 1)
    put_shard(tmp_path / "broken", 0, images)
    (tmp_path / "broken" / "shard-00000000.npz").write_bytes(b"broken")
    with pytest.raises(BenchError, match="not a readable"):
        first_images(tmp_path / "broken", 1)
