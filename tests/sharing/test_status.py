"""``mpqbench status`` tells what is done, running, failed and left of the command started last."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from commands import CRASH, Commands
from test_claims import claim_of, elsewhere, ended

from mpqbench.core.claims import Claims
from mpqbench.core.files import write_atomic
from mpqbench.core.processes import machine
from mpqbench.core.settings import sealed
from mpqbench.job.sharing import ShardPlan, Sharing, name_of
from mpqbench.lab.status import status_of


@pytest.fixture
def crash(tmp_path, tiny_folder, mpqbench, monkeypatch):
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    commands = Commands(tmp_path, tiny_folder, CRASH)
    assert mpqbench(*commands.words)[0] == 1
    return commands


def test_states_of_all_jobs(crash, mpqbench):
    code, out, _ = mpqbench("status", crash.folder)
    assert (code, "3 jobs: 2 done, 0 running, 0 left, 1 failed; nothing is left" in out) == (
        0,
        True,
    )
    assert "no_such_method" in out
    (full,) = crash.folder.glob("records/*full-precision*")
    (rtn,) = crash.folder.glob("records/*rtn*")
    content = rtn.read_text(encoding="utf-8")
    rtn.unlink()
    with Claims(crash.folder / "claims").hold(rtn.stem, "f"):
        found = status_of(crash.folder)
    assert [job.state for job in found.jobs] == ["done", "failed", "running"]
    assert found.processes == 1
    assert [job.state for job in status_of(crash.folder).jobs] == ["done", "failed", "left"]
    rtn.write_text(content.replace("rtn", "rnt", 1), encoding="utf-8")  # damaged
    assert [job.state for job in status_of(crash.folder).jobs] == ["done", "failed", "left"]
    data = json.loads(mpqbench("status", crash.folder, "--json")[1])
    assert data["counts"] == {"done": 1, "failed": 1, "left": 1}
    seconds = json.loads(full.read_text(encoding="utf-8"))["seconds"]
    assert data["seconds_left"] == pytest.approx(sum(seconds.values()))  # the one that is done


def test_who_runs_and_since_when(crash, mpqbench):
    (rtn,) = crash.folder.glob("records/*rtn*")
    rtn.unlink()
    path = claim_of(crash.folder / "claims", elsewhere())
    path.rename(path.with_name(f"{rtn.stem}.1.json"))
    _, out, _ = mpqbench("status", crash.folder)
    assert f"running    {rtn.stem}  process 1 on far since {datetime.now(UTC):%Y-%m-}" in out
    began = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="seconds")
    path = claim_of(
        crash.folder / "claims", type(elsewhere())(**vars(elsewhere()) | {"since": began})
    )
    path.rename(path.with_name(f"{rtn.stem}.1.json"))
    (job,) = (job for job in status_of(crash.folder).jobs if job.state == "running")
    assert job.seconds == pytest.approx(3600, abs=60)
    assert status_of(crash.folder).seconds_left == 0  # it takes longer than others did
    path = claim_of(crash.folder / "claims", ended())
    path.rename(path.with_name(f"{rtn.stem}.1.json"))
    assert "left       " in mpqbench("status", crash.folder)[1]


def test_shards_of_a_running_job_and_who_makes_them(crash, mpqbench):
    (rtn,) = crash.folder.glob("records/*rtn*")
    rtn.unlink()
    sharing = Sharing(crash.folder / "claims" / rtn.stem)
    samples = crash.folder / "samples" / rtn.stem
    shards = [(start, start + 4) for start in (0, 4, 8, 12)]
    plan = ShardPlan("f", tuple(shards), {}, "d", machine(), os.getpid())
    write_atomic(sharing.folder / "plan.json", json.dumps(sealed(vars(plan))).encode())
    assert "of 4 shards" not in mpqbench("status", crash.folder)[1]  # nobody runs the job
    for path in samples.glob("*"):
        path.unlink()
    (samples / "shard-00000000.npz").touch()
    (samples / f"part-{name_of(shards[3])}-0123.npz").touch()
    path = claim_of(sharing.folder, elsewhere())
    path.rename(path.with_name(f"{name_of(shards[2])}.1.json"))
    with Claims(crash.folder / "claims").hold(rtn.stem, "f"):
        _, out, _ = mpqbench("status", crash.folder)
        found = status_of(crash.folder)
    assert "2 of 4 shards, one by process 1 on far" in out
    assert found.processes == 2
    (job,) = (job for job in found.as_json()["jobs"] if job["shards"])
    assert (job["shards"], [h["host"] for h in job["helpers"]]) == ((2, 4), ["far"])


def test_a_folder_without_a_run_is_one_sentence(tmp_path, mpqbench):
    code, _, err = mpqbench("status", tmp_path)
    assert (code, err.count("\n"), "jobs.json is missing" in err) == (2, 1, True)
    (tmp_path / "jobs.json").write_text('{"jobs": [{"job": 3}]}', encoding="utf-8")
    code, _, err = mpqbench("status", tmp_path)
    assert (code, err.count("\n"), "jobs.json" in err) == (2, 1, True)
