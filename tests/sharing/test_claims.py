"""A claim is held by one process, and taken over by one where that process has ended."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mpqbench.core.claims import Claims, Holder
from mpqbench.core.processes import has_ended, started
from mpqbench.core.settings import digest_of

TAKE = """
import sys, time
from pathlib import Path
from mpqbench.core.claims import Claims
claims, begin = Claims(Path(sys.argv[1])), Path(sys.argv[2])
while not begin.exists():
    time.sleep(0.001)
with claims.hold("job", "f") as holder:
    print("other" if holder else "mine", flush=True)
    sys.stdin.read()  # nobody releases before all have tried
"""


def start(code, *arguments):
    words = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, **pipes)


def claim_of(folder, holder, number=1):
    """Write a claim as ``holder`` would."""
    content = asdict(holder)
    folder.mkdir(exist_ok=True)
    path = folder / f"job.{number}.json"
    path.write_text(json.dumps(content | {"checksum": digest_of(content)}), encoding="utf-8")
    return path


def elsewhere():
    return replace(Holder.here("f"), host="far", machine="00000000", pid=1)


def ended():
    """This machine's holder whose process has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return replace(Holder.here("f"), pid=process.pid)


@pytest.mark.parametrize("before", ["nothing", "stale"])
def test_exactly_one_of_many_processes_gets_a_claim(tmp_path, before):
    folder, begin = tmp_path / "claims", tmp_path / "begin"
    if before == "stale":
        claim_of(folder, ended())
    processes = [start(TAKE, folder, begin) for _ in range(6)]
    time.sleep(1)
    begin.touch()
    said = [process.stdout.readline().strip() for process in processes]
    for process in processes:
        process.communicate()
    assert sorted(said) == ["mine"] + ["other"] * 5
    assert list(folder.iterdir()) == []


def test_a_claim_of_a_killed_process_is_free_at_once(tmp_path):
    (tmp_path / "begin").touch()
    process = start(TAKE, tmp_path / "claims", tmp_path / "begin")
    assert process.stdout.readline() == "mine\n"
    claims = Claims(tmp_path / "claims")
    with claims.hold("job", "f") as holder:
        assert (holder.pid, holder.fingerprint) == (process.pid, "f")
    process.kill()
    time.sleep(0.2)  # not waited for: the process is a zombie
    assert claims.holders() == {}
    with claims.hold("job", "f") as holder:
        assert holder is None
        assert claims.holders()["job"].pid == os.getpid()
    assert list((tmp_path / "claims").iterdir()) == []
    process.communicate()


def test_a_later_process_of_the_same_number_is_another_one(tmp_path):
    claim_of(tmp_path, replace(Holder.here("f"), started=Holder.here("f").started - 100))
    with Claims(tmp_path).hold("job", "f") as holder:
        assert holder is None


def test_a_claim_of_another_machine_is_stale_once_it_beats_no_more(tmp_path):
    path = claim_of(tmp_path, elsewhere())
    claims = Claims(tmp_path, stale=0.3)
    for hours in (-5, 5, 0):  # a beat by whatever clock is a beat
        os.utime(path, (time.time() + 3600 * hours,) * 2)
        with claims.hold("job", "f") as holder:
            assert holder.host == "far"
        time.sleep(0.2)
    time.sleep(0.2)
    with claims.hold("job", "f") as holder:
        assert holder is None


def test_a_live_process_of_another_machine_keeps_its_claim(tmp_path):
    claims, watcher = Claims(tmp_path, beat=0.05), Claims(tmp_path, stale=0.3)
    with claims.hold("job", "f"):
        path, own = tmp_path / "job.1.json", Holder.here("f")
        content = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(content | {"machine": "00000000"})  # damaged: told by its beats alone
        with path.open("r+", encoding="utf-8") as file:  # the same file, as a new one has no beats
            file.write(text)
            file.truncate()
        for _ in range(10):
            with watcher.hold("job", "f") as holder:
                assert holder is not None
                assert holder.pid != own.pid
            time.sleep(0.1)


def test_a_stale_claim_that_was_replaced_meanwhile_is_not_taken_over(tmp_path):
    first, stale = Claims(tmp_path), ended()
    path = claim_of(tmp_path, stale)
    with first.hold("job", "f") as holder:  # number 2
        assert holder is None
    fresh = claim_of(tmp_path, elsewhere())  # made after the release
    late = Claims(tmp_path)
    answers = iter([(path, stale)])  # what a slow process had read before
    object.__setattr__(late, "_current", lambda job: next(answers, None) or current(late, job))
    with late.hold("job", "f") as holder:
        assert holder.host == "far"
    assert [p.name for p in tmp_path.iterdir()] == [fresh.name]


def current(claims, job):
    return Claims._current(claims, job)


def test_a_process_that_was_suspended_does_not_remove_the_claim_of_another(tmp_path):
    claims = Claims(tmp_path)
    with claims.hold("job", "f"):
        (tmp_path / "job.1.json").unlink()  # taken over and released by others
        claim_of(tmp_path, elsewhere())
    assert [path.name for path in tmp_path.iterdir()] == ["job.1.json"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells it")
def test_when_a_process_began_does_not_depend_on_a_clock_that_is_set(monkeypatch):
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    began = started(os.getpid())
    assert 0 < began <= now
    monkeypatch.setattr("psutil.Process.create_time", lambda _: time.time() + 3600)
    assert started(os.getpid()) == began
    assert not has_ended(os.getpid(), began)
    assert has_ended(os.getpid(), began - 100)


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', "[]", '{"checksum": "x"}'])
def test_a_damaged_claim_is_told_by_its_beats(tmp_path, content):
    (tmp_path / "job.1.json").write_text(content, encoding="utf-8")
    claims = Claims(tmp_path, stale=0.1)
    with claims.hold("job", "f") as holder:
        assert "damaged" in str(holder)
    time.sleep(0.2)
    with claims.hold("job", "f") as holder:
        assert holder is None


def test_a_file_system_without_links_has_claims_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Claims(tmp_path).hold("job", "f") as holder:
        assert holder is None
        with Claims(tmp_path).hold("job", "f") as other:
            assert other.pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_jobs_with_points_in_their_names_have_claims_of_their_own(tmp_path):
    claims = Claims(tmp_path)
    with claims.hold("a.1", "f") as one, claims.hold("a", "f") as two:
        assert (one, two) == (None, None)
        assert set(claims.holders()) == {"a", "a.1"}


def test_a_damaged_note_of_a_campaign_counts_for_nothing(tmp_path):
    claims = Claims(tmp_path)
    claims.note("a", "7")
    claims.give_up("a", "7", "it crashed")
    assert (claims.was_tried("a", "7"), claims.was_tried("a", "8")) == (True, False)
    assert (claims.reason_of("a", "7"), claims.reason_of("a", "8")) == ("it crashed", "")
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes().replace(b'"7"', b'"8"'))
    assert not claims.was_tried("a", "8")
    assert claims.reason_of("a", "8") == ""
