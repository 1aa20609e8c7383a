"""Folders and files that cannot be written or read: one sentence, exit code 2, nothing lost."""

import errno
import json
import os
import shutil

import pytest

from mpqbench.core import files


@pytest.mark.parametrize("kind", ["dangling", "proc", "long", "file", "deep"])
def test_a_folder_that_cannot_be_written_is_known_before_any_job(mpqbench, tmp_path, kind):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("", encoding="utf-8")
    out = {
        "proc": "/proc/results",
        "long": tmp_path / ("x" * 256),
        "deep": tmp_path / "x" / ("y" * 256) / "z",
    }.get(kind, tmp_path / kind)
    for dry in ([], ["-n"]):
        code, text, err = mpqbench("run", "smoke", "--out", out, *dry)
        assert (code, text, err.count("\n")) == (2, "", 1)
        assert f"error: results cannot go into {out}" in err


@pytest.mark.parametrize("part", ["records", "samples", "cache"])
def test_a_part_of_the_folder_that_is_no_folder_is_known_before_any_job(mpqbench, tmp_path, part):
    (tmp_path / part).write_text("", encoding="utf-8")
    code, text, err = mpqbench("run", "smoke", "--out", tmp_path)
    assert (code, text) == (2, "")
    assert f"{tmp_path / part} is a file" in err


def full_disk(monkeypatch, word):
    """Let no file be written whose path has ``word``."""
    real = os.replace

    def replace(source, target):
        if word in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)


def test_a_record_that_cannot_be_written_is_printed(kept, monkeypatch):
    path = kept.only("records/*searched*")
    before = kept.content
    path.unlink()
    full_disk(monkeypatch, "records")
    code, out, err = kept.run()
    assert (code, err.count("\n")) == (2, 1)
    assert f"{path} cannot be written: no space left on device" in err
    printed = json.loads(out[out.index("{\n") :])
    assert printed["scores"] == before["scores"]
    path.write_text(json.dumps(printed), encoding="utf-8")  # as the message says
    monkeypatch.undo()
    assert kept.run()[1].count("done before") == 2


@pytest.mark.parametrize("word", ["shard-", pytest.param("allocations", marks=pytest.mark.slow)])
def test_a_full_disk_ends_the_run_and_fails_no_job(kept, monkeypatch, word):
    full_disk(monkeypatch, word)
    before = sorted((kept.folder / "records").iterdir())
    code, _, err = kept.run("--fresh", "--steps", 3)
    assert (code, err.count("\n")) == (2, 1)
    assert "no space left on device" in err
    failed = [
        p
        for p in (kept.folder / "records").iterdir()
        if '"failed"' in p.read_text(encoding="utf-8")
    ]
    assert not failed
    monkeypatch.undo()
    assert kept.run("--steps", 3)[0] == 0
    assert before == [p for p in sorted((kept.folder / "records").iterdir()) if p in before]


@pytest.mark.parametrize("at", [60, *(pytest.param(n, marks=pytest.mark.slow) for n in (0.5, -40))])
def test_one_flipped_bit_in_a_trace_is_told_and_mended(kept, undrawn, at):
    path = kept.only("traces/*searched*.parquet")
    whole = bytearray(path.read_bytes())
    whole[int(at * len(whole)) if 0 < abs(at) < 1 else at] ^= 4
    path.write_bytes(whole)
    code, _, err = kept.mpqbench("report", kept.folder)
    assert (code, err.count(f"{path} is damaged")) == (0, 1)
    assert "Traceback" not in err
    assert kept.run()[0] == 0
    assert kept.mpqbench("report", kept.folder)[2] == ""


@pytest.mark.parametrize("at", [0, -300, -20])
def test_a_damaged_trace_without_a_known_digest_ends_no_report(kept, at):
    path = kept.only("traces/*searched*.parquet")
    kept.edit(seal=True, files={})
    whole = bytearray(path.read_bytes())
    whole[at % len(whole)] ^= 16
    path.write_bytes(whole)
    code, _, err = kept.mpqbench("report", kept.folder)
    assert (code, "Traceback" in err) == (0, False)


def test_a_disk_without_room_for_the_samples_is_known_before_any_job(kept, monkeypatch):
    usage = shutil.disk_usage(kept.folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    code, out, err = kept.run()
    assert (code, out.count("done before"), err) == (0, 2, "")
    code, out, err = kept.run("--steps", 3)
    assert (code, out.count("seed 0"), err.count("\n")) == (2, 0, 1)
    assert "make room" in err


def test_the_home_folder_of_an_unknown_user_is_named(mpqbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, err = mpqbench("run", "smoke", "-n", "--out", "~nosuchuser/run")
    assert (code, text, err.count("\n")) == (2, "", 1)
    assert "~nosuchuser/run: there is no user of that name" in err
    assert not list(tmp_path.iterdir())
