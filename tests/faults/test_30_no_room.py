"""No room for a file: one sentence, exit code 2, nothing half written; the run goes on later."""

import os
import resource
import subprocess

import pytest
from forked import Run

RESULTS = ("allocations/*", "samples/*/*")
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def large(tiny_folder, tmp_path_factory):
    """A command whose shards are of more than 2 MB, and what it makes of them."""
    place = tmp_path_factory.mktemp("large")
    (place / "large.yaml").write_text("name: large\nbudgets: [W4A4]\nmethods: [full-precision]\n"
        "protocol: {base: smoke, images: 1700, steps: 1, micro_batch: 100, features: none}\n",
        encoding="utf-8")  # fmt: skip
    words = ("run", place / "large.yaml", "--model", tiny_folder, "--batch-size", 1700)
    whole = Run(place / "whole", *words)
    assert whole.command()[0] == 0, whole.said
    (first, *_) = whole.out.glob("samples/*full*/shard-*.npz")
    assert first.stat().st_size > 2 * MEGABYTE
    return Run(place / "limited", *words), whole


def test_a_limit_on_the_size_of_files_leaves_a_folder_that_resumes(large):
    run, whole = large

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MEGABYTE, 2 * MEGABYTE))

    code, _ = run.command(prepare=limit)
    assert (code, run.errors) == (2, 1), run.said
    assert "shard-00000000.npz cannot be written: file too large" in run.said
    assert "Traceback" not in run.said
    assert run.unfinished() == []
    assert run.records() == {}
    assert run.bytes("samples/*/shard-*", "claims/*") == {}
    assert run.command()[0] == 0, run.said
    assert (run.records(), run.bytes(*RESULTS)) == (whole.records(), whole.bytes(*RESULTS))


@pytest.fixture
def disk(tmp_path):
    """A disk of 2 MB of its own, which root alone can mount."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a disk of its own cannot be mounted here: only root can, outside a container")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(disk, room):
    """Leave ``room`` bytes on ``disk``, in whole pages."""
    (disk / "filler").write_bytes(b"")
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(b"0" * max(0, free - room))


def test_a_full_disk_leaves_a_folder_that_resumes(disk, made_run, kept_words):
    run, codes = Run(disk / "run", *kept_words, logs=disk.parent), []
    whole = Run(made_run / "run")
    for kilobytes in (8, 40, 72, 104, 136, 1024):
        fill(disk, kilobytes * 1024)
        code, _ = run.command()
        codes.append(code)
        assert (code, run.errors) in ((0, 0), (2, 1)), run.said
        if code == 2:
            assert "no space left on device" in run.said or "make room" in run.said
        assert run.unfinished() == []
        known = whole.records()
        assert all(known[job] == record for job, record in run.records().items())
        assert run.bytes("claims/*.json") == {}
    assert codes[0] == 2
    assert codes[-1] == 0
    assert (run.records(), run.bytes(*RESULTS)) == (whole.records(), whole.bytes(*RESULTS))


def test_a_read_only_folder_is_known_before_any_job_and_can_be_read(disk, kept_words):
    run = Run(disk / "run", *kept_words, logs=disk.parent)
    (disk / "run").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, _ = run.command()
    assert (code, run.said.count("\n")) == (2, 1), run.said
    assert f"error: results cannot go into {disk / 'run'}" in run.said
    assert os.listdir(disk / "run") == []
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert run.command()[0] == 0, run.said
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    before = run.records()
    for words in (("verify", disk / "run"), ("status", disk / "run")):
        reads = Run(disk.with_name("reads"))
        reads.words = list(map(str, words))
        assert reads.command()[0] == 0, reads.said
    code, _ = run.command()
    assert (code, run.errors, run.records() == before) == (2, 1, True), run.said
