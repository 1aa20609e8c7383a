"""The folder of a run: round trips, atomic writes, corrupt files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.files import write_atomic
from mpqbench.records.schema import JobRecord
from mpqbench.records.store import RecordStore

PROVENANCE = {
    "mpqbench": "0.1.0",
    "python": "3.11.0",
    "platform": "test",
    "started": "2026-01-01T00:00:00+00:00",
    "finished": "2026-01-01T00:01:00+00:00",
}


def make(job="a", status="done", reason="", fingerprint="f"):
    done = status == "done"
    costs = dict.fromkeys(
        ("macs", "parameters", "bitops", "bitops_linear", "bitops_per_image", "bytes"), 1
    )
    return JobRecord.model_validate(
        {
            "job": job,
            "fingerprint": fingerprint,
            "metric_fingerprint": "m" if done else None,
            "status": status,
            "reason": reason,
            "model": "toy",
            "method": "rtn",
            "budget": "W4A4",
            "seed": 0,
            "recipe": {},
            "protocol": {},
            "n_images": 8,
            "scores": {"fd": {"value": 1.5}} if done else {},
            "costs": costs | {"effective_bits": 4.0, "satisfied": True} if done else None,
            "provenance": PROVENANCE,
        }
    )


def test_nothing_is_created_before_the_first_write(tmp_path):
    store = RecordStore(tmp_path / "runs" / "quick")
    assert store.read_all() == []
    assert not store.done("a", "f")
    assert not store.has_samples("a")
    assert list(tmp_path.iterdir()) == []


def test_round_trip_and_layout(tmp_path):
    store = RecordStore(tmp_path)
    for job in ("b", "a"):
        store.write(make(job))
    assert (tmp_path / "records" / "a.json").is_file()
    assert store.read("b") == make("b")
    assert [record.job for record in store.read_all()] == ["a", "b"]
    store.write_allocation("a", {"blocks.0.attn.qkv": "W4A4"})
    assert store.read_allocation("a") == {"blocks.0.attn.qkv": "W4A4"}
    assert (tmp_path / "allocations" / "a.json").is_file()


def test_only_done_under_the_same_fingerprint_counts(tmp_path):
    store = RecordStore(tmp_path)
    store.write(make("a"))
    store.write(make("b", status="failed", reason="out of memory"))
    assert store.done("a", "f")
    assert not store.done("a", "g")
    assert not store.done("b", "f")


def test_a_failed_replace_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomic(path, b"old")

    def fail(source, target):
        raise OSError("disk gone")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_process_killed_before_the_replace_leaves_the_old_record(tmp_path):
    store = RecordStore(tmp_path)
    store.write(make("a"))
    before = store.record_path("a").read_bytes()
    script = f"""
        import os, signal
        from mpqbench.records.store import RecordStore
        store = RecordStore({str(tmp_path)!r})
        record = store.read("a").model_copy(update={{"fingerprint": "new"}})
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        store.write(record)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert run.returncode == -9
    assert store.record_path("a").read_bytes() == before
    # The temporary file of the dead process is there, and is not taken for a record.
    assert len(list((tmp_path / "records").iterdir())) == 2
    assert [record.fingerprint for record in store.read_all()] == ["f"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "corrupt"),
        ("[]", "corrupt"),
        ('{"schema_version": 1, "seed": NaN}', "NaN"),
        ('{"schema_version": 99}', "schema version 99"),
        ("{}", "schema version None"),
    ],
)
def test_a_corrupt_or_foreign_file_is_named_with_its_remedy(tmp_path, text, word):
    store = RecordStore(tmp_path)
    store.write(make("a"))
    path = store.record_path("bad")
    path.write_text(text)
    with pytest.raises(BenchError, match=word) as caught:
        store.read_all()
    assert str(path) in str(caught.value)
    assert "delete the file and run the job again" in str(caught.value)


def test_an_unknown_key_in_a_file_is_named(tmp_path):
    store = RecordStore(tmp_path)
    path = store.write(make("a"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sead": 1}))
    with pytest.raises(BenchError, match="unknown key 'sead'; did you mean 'seed'"):
        store.read("a")


def test_a_renamed_record_is_refused(tmp_path):
    store = RecordStore(tmp_path)
    store.write(make("a")).rename(store.record_path("b"))
    with pytest.raises(BenchError, match="holds job 'a'"):
        store.read("b")


@pytest.mark.parametrize("job", ["../x", "a/b", "", ".hidden", "a\n"])
def test_unsafe_names_never_reach_the_file_system(tmp_path, job):
    with pytest.raises(BenchError, match="no safe file name"):
        RecordStore(tmp_path).write_allocation(job, {})
    assert list(tmp_path.iterdir()) == []


def put_shard(store, job, start, images):
    path = store.samples_path(job) / f"shard-{start:08d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, arr_0=images, classes=np.zeros(len(images), np.int64))


def test_samples_come_back_in_order_over_shards(tmp_path):
    store = RecordStore(tmp_path)
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    put_shard(store, "a", 8, images[8:])  # written out of order, as parallel workers do
    put_shard(store, "a", 0, images[:8])
    assert store.has_samples("a")
    assert np.array_equal(store.read_samples("a", 10), images[:10])
    assert np.array_equal(store.read_samples("a", 3), images[:3])
    with pytest.raises(BenchError, match="kept 12 images, 13 are needed"):
        store.read_samples("a", 13)


def test_samples_refuse_gaps_other_types_and_broken_files(tmp_path):
    store = RecordStore(tmp_path)
    images = np.zeros((4, 2, 2, 1), np.uint8)
    put_shard(store, "gap", 0, images)
    put_shard(store, "gap", 8, images)
    with pytest.raises(BenchError, match="does not follow"):
        store.read_samples("gap", 8)
    put_shard(store, "float", 0, images.astype(float))
    with pytest.raises(BenchError, match="float64"):
        store.read_samples("float", 1)
    put_shard(store, "broken", 0, images)
    (store.samples_path("broken") / "shard-00000000.npz").write_bytes(b"broken")
    with pytest.raises(BenchError, match="not a shard"):
        store.read_samples("broken", 1)
