"""The folder of a run: round trips, atomic writes, corrupt files."""

import json
import subprocess
import sys
import textwrap

import pytest
from records_of import record_of

from mpqbench.core.errors import BenchError
from mpqbench.records.store import RecordStore


def make(job="a", status="done", reason=""):
    scores = {"fd": {"value": 1.5}} if status == "done" else {}
    metric = "m" if status == "done" else None
    own = {"job": job, "fingerprint": "f", "scores": scores}
    return record_of(status=status, reason=reason, metric=metric, **own)


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
    store.write(make("c", "failed", "out of memory"))
    assert [record.job for record in store.read_all()] == ["a", "b", "c"]
    asked = [("a", "f"), ("a", "g"), ("c", "f")]
    assert [store.done(*own) for own in asked] == [True, False, False]
    store.write_allocation("a", {"blocks.0.attn.qkv": "W4A4"})
    assert store.read_allocation("a") == {"blocks.0.attn.qkv": "W4A4"}
    assert (tmp_path / "allocations" / "a.json").is_file()


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
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchError, match=word) as caught:
        store.read_all()
    assert str(path) in str(caught.value)
    assert "run its suite again, or delete the file" in str(caught.value)


def test_an_unknown_key_in_a_file_is_named(tmp_path):
    store = RecordStore(tmp_path)
    path = store.write(make("a"))
    content = json.loads(path.read_text(encoding="utf-8")) | {"sead": 1}
    del content["checksum"]
    path.write_text(json.dumps(content), encoding="utf-8")
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
