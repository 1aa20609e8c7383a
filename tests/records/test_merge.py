"""Runs of several people become one folder or one table; jobs with two results are refused."""

import json

import pandas as pd
import pytest
from records_of import PROVENANCE, record_of

from mpqbench.records import merge
from mpqbench.records.runs import read_runs
from mpqbench.records.store import RecordStore

FULL = record_of("full-precision", "FP", 1.0)
LATER = PROVENANCE | {"finished": "2026-02-02T00:00:00+00:00"}


@pytest.fixture
def runs(tmp_path):
    """Two runs that share full precision, each with a method of its own."""
    folders = tmp_path / "a", tmp_path / "b"
    own = record_of("rtn", fd=2.0), record_of("gptq", fd=1.5)
    for folder, record, provenance in zip(folders, own, (PROVENANCE, LATER), strict=True):
        store = RecordStore(folder)
        store.write(record)
        store.write(FULL.model_copy(update={"provenance": type(FULL.provenance)(**provenance)}))
        store.write_allocation(record.job, {"blocks.0.attn.qkv": "W4A4"})
        store.trace_path(record.job).parent.mkdir()
        store.trace_path(record.job).write_bytes(b"trace")
        store.samples_path(record.job).mkdir(parents=True)
        (store.samples_path(record.job) / "shard-0000.npz").write_bytes(b"images")
    return folders


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_two_runs_become_one(runs, tmp_path, mpqbench):
    out = tmp_path / "out"
    code, text, err = mpqbench("merge", *runs, "--out", out)
    assert (code, text) == (0, f"{out}: 3 records of 2 runs\n"), err
    merged = read_runs([out])
    assert {r.method for r in merged.records} == {"full-precision", "rtn", "gptq"}
    for folder in runs:
        for part in ("records", "allocations", "traces"):
            for path in (folder / part).iterdir():
                if path.stem != FULL.job or folder == runs[0]:
                    assert (out / part / path.name).read_bytes() == path.read_bytes()
    assert not (out / "samples").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "out"}
    assert mpqbench("merge", *runs, "--out", out, "--samples")[0] == 0  # a former merge
    assert sum(name.startswith("samples/") for name in files(out)) == 2


def test_all_jobs_with_two_results_are_named_and_nothing_is_written(runs, tmp_path, mpqbench):
    store = RecordStore(runs[1])
    store.write(record_of("rtn", fd=2.5))
    store.write(record_of("full-precision", "FP", 1.25))
    out, table = tmp_path / "out", tmp_path / "t.parquet"
    code, _, err = mpqbench("merge", *runs, "--out", out, "--parquet", table)
    assert code == 2
    assert all(f"{runs[0]} and {runs[1]} have different results of job '{job}'" in err
               for job in (FULL.job, record_of("rtn").job))  # fmt: skip
    assert not out.exists()
    assert not table.exists()


def test_a_folder_with_something_else_in_it_is_left_alone(runs, tmp_path, mpqbench):
    out = tmp_path / "out"
    assert mpqbench("merge", *runs, "--out", out)[0] == 0
    before = files(out)
    code, _, err = mpqbench("merge", runs[0], "--out", out)
    assert (code, "give all runs that were merged before" in err) == (2, True)
    (out / "merged.json").unlink()
    code, _, err = mpqbench("merge", *runs, "--out", out)
    assert (code, "neither empty nor made by a merge" in err) == (2, True)
    assert files(out) == before - {"merged.json"}
    code, _, err = mpqbench("merge", *runs, "--out", runs[0])
    assert (code, "is one of the runs" in err) == (2, True)
    assert mpqbench("merge", *runs)[0] == 2
    assert mpqbench("merge", *runs, "--samples", "--parquet", tmp_path / "t")[0] == 2
    assert mpqbench("merge", tmp_path, "--out", tmp_path / "new")[0] == 2
    assert not (tmp_path / "new").exists()


def test_a_merge_that_fails_leaves_the_former_one(runs, tmp_path, mpqbench, monkeypatch):
    out = tmp_path / "out"
    assert mpqbench("merge", *runs, "--out", out)[0] == 0
    before = files(out)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merge.shutil, "copyfile", full)
    code, _, err = mpqbench("merge", *runs, "--out", out)
    assert (code, "no space left" in err) == (2, True)
    assert files(out) == before
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "out"}


def test_damaged_files_and_links_are_refused(runs, tmp_path, mpqbench):
    (path,) = (runs[0] / "traces").iterdir()
    path.unlink()
    path.symlink_to(runs[1] / "records")
    (tmp_path / "secret").write_text("x")
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    code, _, err = mpqbench("merge", *runs, "--out", tmp_path / "out")
    assert (code, "is a link" in err) == (2, True)
    path.unlink()
    record = RecordStore(runs[0]).read(record_of("rtn").job)
    files = {f"allocations/{record.job}.json": "0" * 16}
    RecordStore(runs[0]).write(record.model_copy(update={"files": files}))
    code, _, err = mpqbench("merge", *runs, "--out", tmp_path / "out")
    assert (code, "is damaged" in err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_parquet_has_the_columns_of_the_records(runs, tmp_path, mpqbench):
    table = tmp_path / "t.parquet"
    assert mpqbench("merge", *runs, "--parquet", table)[0] == 0
    frame = pd.read_parquet(table).set_index("method")
    assert list(frame.index) == ["full-precision", "gptq", "rtn"]
    assert frame.fd["gptq"] == 1.5
    assert list(frame.fd_replicates["gptq"]) == pytest.approx([1.8, 1.4, 1.3])
    assert list(frame.sfd_replicates["gptq"]) == []
    assert json.loads(frame.protocol["rtn"])["steps"] == 20
    assert json.loads(frame.recipe["rtn"]) == {"name": "rtn"}
    assert frame.bitops["rtn"] == 16 * 10**8
    assert pd.isna(frame.sfd["rtn"])
    assert "PyTorch unknown" in frame.measured_on["rtn"]
