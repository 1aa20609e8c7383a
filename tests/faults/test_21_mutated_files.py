"""Damaged files of every kind that users bring: a result or one sentence, never a traceback.

10,000 seeded mutations are marked slow; 500 run always.
"""

import io
import json
import shutil
import signal
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from records_of import record_of
from torch import nn

from mpqbench.core.errors import BenchError
from mpqbench.core.registry import discover
from mpqbench.dit.loading import load_model
from mpqbench.lab.suite import plan
from mpqbench.lab.suites import load_suite
from mpqbench.metrics.features import FeatureNetwork
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import load_reference
from mpqbench.records.store import RecordStore
from mpqbench.report.render import to_csv, to_markdown
from mpqbench.report.table import leaderboard

SECONDS = 30  # for one file, on a busy machine
KINDS = ("png", "npz", "reference", "yaml", "record", "config", "scheduler", "weights")
ODD = (
    *(None, True, -1, 0, 1.5, 1e308, 10**400, "", "x" * 5000, "NaN", "[/b]", "\x1b[31m", "=1+1"),
    *([], {}, [[]], {"a": {}}, [1, "2"], "../..", "\ud800"),
)
SUITE = """name: s
models: [fashion-dit]
protocol: {base: smoke, images: 32, steps: 2, features: none}
methods: [rtn, {base: gptq, name: g, rounding: {name: gptq, damping: 0.02}}]
budgets: [W4A4, 2MB]
seeds: [0, 1]
"""


class Sixteen(FeatureNetwork):
    """A network of 16 features that is only asked for its name and sizes."""

    name, dimension = "sixteen", 16

    def __init__(self, weights: Path) -> None:
        super().__init__(nn.Linear(1, 16), weights, "", "cpu")

    def prepare(self, images):
        raise NotImplementedError

    forward = prepare


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, cut, repeat or insert bytes at random places."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 40))
        match int(rng.integers(6)):
            case 0 | 1 if at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at:at] = rng.bytes(length)
            case 5:
                data[at : at + length] = bytes(len(data[at : at + length]))
    return bytes(data[: int(rng.integers(len(data) + 1))] if rng.random() < 0.1 else data)


def altered(content: bytes, rng: np.random.Generator) -> bytes:
    """Put odd values in place of some values of JSON, or drop or rename keys."""
    data = json.loads(content)
    for _ in range(int(rng.integers(1, 4))):
        at = data
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            inner = at[key]
            if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
                at = inner
                continue
            choice = int(rng.integers(8))
            if choice == 0:
                del at[key]
            elif choice == 1 and isinstance(at, dict):
                at[f"{key}_"] = at.pop(key)
            else:
                at[key] = ODD[int(rng.integers(len(ODD)))]
            break
    return json.dumps(data).encode()


def _png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(1024, dtype=np.uint32).astype(np.uint8).reshape(32, 32)).save(
        file, "PNG"
    )
    return file.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture(scope="module")
def cases(tmp_path_factory, tiny_folder) -> dict[str, tuple[Path, Callable[[], object], bool]]:
    """For each kind of file: where it lies, what reads it, and whether it is JSON."""
    base = tmp_path_factory.mktemp("mutated")
    rng = np.random.default_rng(0)
    model = base / "model"
    shutil.copytree(tiny_folder, model)
    (base / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (base / "images" / name).write_bytes(_png())
    (base / "i.npz").write_bytes(_npz(arr_0=rng.integers(0, 255, (8, 8, 8, 1), dtype=np.uint8)))
    gaussian = {"mu": np.zeros(16), "sigma": np.eye(16), "features": rng.normal(size=(20, 16))}
    (base / "r.npz").write_bytes(_npz(**gaussian, count=np.array(20)))
    (base / "s.yaml").write_text(SUITE, encoding="utf-8")
    store = RecordStore(base / "run")
    record = store.write(record_of("rtn", "W4A4", 3.0))
    store.write(record_of("full-precision", "FP", 2.0))
    registry, network = discover(), Sixteen(base / "r.npz")

    def images(path: Path) -> Callable[[], object]:
        return lambda: list(open_images(path).batches(8))

    def table() -> str:
        found = leaderboard(store.read_all())
        return to_csv(found) + to_markdown(found, "Results")

    def load() -> object:
        return load_model(str(model))

    parts = model / "transformer", model / "scheduler"
    return {
        "png": (base / "images" / "b.png", images(base / "images"), False),
        "npz": (base / "i.npz", images(base / "i.npz"), False),
        "reference": (base / "r.npz", lambda: load_reference(base / "r.npz", network), False),
        "yaml": (base / "s.yaml", lambda: plan(load_suite(str(base / "s.yaml")), registry, "cpu"),
                 False),
        "record": (record, table, True),
        "config": (parts[0] / "config.json", load, True),
        "scheduler": (parts[1] / "scheduler_config.json", load, True),
        "weights": (parts[0] / "diffusion_pytorch_model.safetensors", load, False),
    }  # fmt: skip


@contextmanager
def no_hang(what: str):
    """Raise TimeoutError where the block takes longer than ``SECONDS``."""

    def ring(*_):
        raise TimeoutError(f"{what} took over {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _try(cases, kind: str, first: int, count: int) -> tuple[int, int]:
    """Mutate a file ``count`` times and read it; return how many were read and refused."""
    path, read, is_json = cases[kind]
    whole, read_well, refused = path.read_bytes(), 0, 0
    sentences: list[str] = []
    files = sorted(path.parent.rglob("*"))
    try:
        for seed in range(first, first + count):
            rng = np.random.default_rng(seed)
            path.write_bytes((altered if is_json and seed % 2 else flipped)(whole, rng))
            try:
                with no_hang(f"{kind} of seed {seed}"):
                    read()
                read_well += 1
            except BenchError as error:
                refused += 1
                sentences.append(str(error))
            except Exception as error:
                error.add_note(f"{kind} of seed {seed}")
                raise
    finally:
        path.write_bytes(whole)
    assert sorted(path.parent.rglob("*")) == files
    assert not [text for text in sentences if not text.strip() or "\n" in text]
    return read_well, refused


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_give_a_result_or_one_sentence(cases, kind):
    read_well, refused = _try(cases, kind, 0, 63)
    assert refused
    assert read_well + refused == 63


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_mutated_files(cases, kind):
    _try(cases, kind, 1000, 1250)
