"""One flipped bit in any kept file is noticed before a result depends on it."""

import json
import os
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.files import remove_unfinished, write_atomic
from mpqbench.core.processes import machine
from mpqbench.core.progress import Reporter
from mpqbench.core.settings import sealed
from mpqbench.job.samples import SampleStore, fingerprint_of
from mpqbench.lab.planned import read_planned
from mpqbench.lab.study.searchers import _kept_regret
from mpqbench.records.left_out import current
from mpqbench.records.store import RecordStore

KINDS = (
    "records/*searched*", "records/*full-precision*", "allocations/*searched*",
    "traces/*searched*.parquet", "samples/*searched*/shard-00000004.npz",
    "samples/*full-precision*/shard-00000004.npz", "samples/*full-precision*/fingerprint.json",
    "samples/*searched*/fingerprint.json", "cache/calibration/*/*.pt", "cache/searches/*.pt",
    "jobs.json",
)  # fmt: skip
TOLD = (
    "damaged",
    "corrupt",
    "was changed after it was written",
    "has schema version",
    "made again",
)


def flip(path, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def contents(kept):
    """What is kept of results: numbers of records, and the bytes of all files beside them."""
    apart = ("seconds", "peak_mb", "provenance", "checksum", "notes")
    found = {}
    for path in sorted(kept.folder.rglob("*")):
        part = path.relative_to(kept.folder).as_posix()
        if part.startswith("records/"):
            record = json.loads(path.read_text(encoding="utf-8"))
            found[part] = {k: v for k, v in record.items() if k not in apart}
        elif path.is_file() and part.startswith(("allocations/", "samples/", "cache/calibration")):
            found[part] = path.read_bytes()
    for record in (value for key, value in found.items() if key.startswith("records/")):
        record["files"] = sorted(record["files"])  # a trace tells its seconds
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_same_command_gives_the_same_results(kept, kind, seed):
    before = contents(kept)
    path = sorted(kept.folder.glob(kind))[0]
    if "cache" in kind:  # which is read when a job is run
        kept.only("records/*searched*").unlink()
    flip(path, seed)
    code, out, err = kept.run()
    assert (code, err) == (0, "")
    assert contents(kept) == before
    assert kind == "jobs.json" or [word for word in TOLD if word in out], out
    assert kept.mpqbench("verify", kept.folder)[0] == 0


def test_every_kind_of_kept_file_is_tried(kept):
    tried = {path for kind in KINDS for path in kept.folder.glob(kind)}
    kept_files = {path for path in kept.folder.rglob("*") if path.is_file()}
    missing = {path.relative_to(kept.folder).parts[0] for path in kept_files - tried}
    # Of each of these another job's file is tried; tables and figures are made anew by every run.
    assert missing <= {"samples", "allocations", "leaderboard.csv", "leaderboard.md",
                       "leaderboard.tex", "figures", "cache"}  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_shard_is_never_read_with_a_flipped_bit(kept, seed):
    path = kept.only("samples/*searched*/shard-00000004.npz")
    samples = SampleStore(path.parent, fingerprint_of(path.parent), 4)
    assert len(list(samples.shards(8))) == 2
    flip(path, seed)
    with pytest.raises(BenchError, match="damaged, as their checksum shows"):
        list(samples.shards(8))
    assert not samples.holds(8)


def test_a_shard_of_another_fingerprint_is_not_read_and_this_is_said(kept):
    folder = kept.only("samples/*searched*")
    other = SampleStore(folder, "another", 4)
    with pytest.raises(BenchError, match="another job of this name"):
        list(other.shards(8))
    assert not other.holds(8)
    with zipfile.ZipFile(folder / "shard-00000000.npz") as archive:
        assert archive.comment.decode() == fingerprint_of(folder)
    owner = json.loads((folder / "fingerprint.json").read_text(encoding="utf-8"))
    owner["fingerprint"] = "another"
    del owner["checksum"]
    (folder / "fingerprint.json").write_text(json.dumps(owner), encoding="utf-8")
    kept.only("records/*searched*").unlink()
    code, out, _ = kept.run()
    assert (code, out.count("were made by another recipe, model, device or version")) == (0, 1)
    assert kept.mpqbench("verify", kept.folder)[0] == 0


def kept_row(path):
    return _kept_regret(path, SimpleNamespace(reporter=Reporter()))


def left_out(path):
    return current(SimpleNamespace(folder=path.parent, read_all=list))


def planned(path):
    return read_planned(RecordStore(path.parent))


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("regret.json", {"fingerprint": "f", "regret": 0.25}, kept_row),
        ("left-out.json", {"jobs": {"a": {"fingerprint": "f", "reason": "r"}}}, left_out),
        ("jobs.json", {"jobs": []}, planned),
    ],
)
def test_small_files_say_what_was_written_or_nothing(tmp_path, name, content, read):
    path = tmp_path / name
    path.write_text(json.dumps(sealed(content), indent=1), encoding="utf-8")
    whole, whole_bytes, refused = read(path), path.read_bytes(), 0
    for seed in range(200):
        flip(path, seed)
        try:
            found = read(path)
            refused += found != whole
            if found and isinstance(found, dict):  # the name of the checksum is another one
                found = {key: found[key] for key in whole}
            assert found in (whole, {})
        except BenchError:
            refused += 1
        path.write_bytes(whole_bytes)
    assert refused > 100


def test_files_of_killed_writes_are_removed_and_others_are_not(kept):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    folder = kept.folder / "samples" / "of-a-job"
    folder.mkdir()
    names = {
        f".a.json-{machine()}-{process.pid}-abc.tmp": 0,  # its process has ended
        f".b.json-{machine()}-{os.getpid()}-abc.tmp": 0,  # is being written
        f".c.json-{machine()}-{os.getpid()}-abc.tmp": 2,  # is old
        ".d.json-00000000-1-abc.tmp": 0,  # of another machine
        ".e.json-00000000-1-abc.tmp": 2,
        ".mine.tmp": 2,
    }
    for name, hours in names.items():
        (folder / name).touch()
        os.utime(folder / name, (time.time() - 3600 * hours,) * 2)
    code, out, _ = kept.run()
    assert (code, out.count("removed 3 unfinished file(s)")) == (0, 1)
    assert sorted(path.name[1] for path in folder.iterdir()) == ["b", "d", "m"]


def test_a_killed_write_leaves_a_file_that_is_known(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; import mpqbench.core.files as files; "
        "os.replace = lambda *_: os._exit(9); files.write_atomic(Path(sys.argv[1]), b'x')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / ("n" * 200))], check=False)
    assert (done.returncode, len(list(tmp_path.iterdir()))) == (9, 1)
    assert len(remove_unfinished([tmp_path])) == 1
    assert list(tmp_path.iterdir()) == []
    write_atomic(tmp_path / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
