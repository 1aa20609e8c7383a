"""Processes on one folder share its jobs, survive each other, and stop as they are asked to."""

import os
import shutil
import signal
import time
from types import SimpleNamespace

import psutil
import pytest
from commands import CRASH, PATIENT, Commands, begun, ended

from mpqbench.api import workers
from mpqbench.api.workers import run_with
from mpqbench.core.claims import Claims
from mpqbench.core.errors import BenchError
from mpqbench.executors.processes import Processes


@pytest.fixture
def patient(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    return Commands(tmp_path, tiny_folder, PATIENT)


def test_two_processes_share_the_jobs_and_both_show_all(patient, mpqbench):
    first, second = patient.start(), patient.start()
    if patient.waiting() == [second.pid]:
        first, second = second, first
    while not list(patient.folder.glob("records/*rtn*")):  # the job that is free
        assert second.poll() is None
        time.sleep(0.05)
    patient.go()
    (one, out_one, _), (two, out_two, _) = ended(first), ended(second)
    assert (one, two) == (0, 0)
    jobs = begun(out_one, out_two)
    assert [job.split()[-4] for job in jobs] == ["full-precision", "patient", "rtn"]
    assert f"run by process {first.pid}" in out_two
    assert "waiting for" in out_two
    assert "rtn W4A4 seed 0: done by another process" in out_one
    tables = [out[out.index("method") : out.index("N = ")] for out in (out_one, out_two)]
    assert tables[0] == tables[1]
    assert patient.claims() == []
    shared = patient.records()
    alone = patient.place / "alone"
    assert mpqbench(*patient.words, "--out", alone)[0] == 0
    assert patient.records(alone) == shared


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, "stopped by SIGTERM"), (signal.SIGINT, 130, "stopped;"),
     (signal.SIGKILL, -9, "")],
)  # fmt: skip
def test_a_stopped_process_leaves_what_is_done_and_another_goes_on(
    patient, mpqbench, number, code, said
):
    process = patient.start()
    patient.waiting()
    process.send_signal(number)
    found, _, err = ended(process)
    assert (found, said in err, "Traceback" in err) == (code, True, False)
    assert len(patient.claims()) == (number == signal.SIGKILL)
    assert [r["method"] for r in patient.records().values()] == ["full-precision"]
    patient.go()
    found, out, _ = mpqbench(*patient.words)
    assert (found, len(begun(out))) == (0, 2)
    assert "full-precision FP seed 0: done before" in out
    assert patient.claims() == []


def test_workers_give_the_records_of_one_process(patient, mpqbench):
    patient.go()
    code, out, err = mpqbench(*patient.words, "--workers", "2")
    assert (code, err) == (0, "")
    assert sorted(line.split("] ")[1].split()[1] for line in out.splitlines() if "worker" in line
                  and line.endswith("seed 0")) == ["full-precision", "patient", "rtn"]  # fmt: skip
    alone = patient.place / "alone"
    assert mpqbench(*patient.words, "--out", alone)[0] == 0
    assert patient.records() == patient.records(alone)
    assert patient.claims() == []
    assert list((patient.folder / "logs").iterdir()) == []


@pytest.mark.slow
def test_workers_on_smoke_give_every_metric_of_one_process(tmp_path, tiny_folder, mpqbench):
    commands = Commands(tmp_path, tiny_folder, PATIENT)
    assert mpqbench("run", "smoke", "--out", tmp_path / "two", "--workers", "2")[0] == 0
    assert mpqbench("run", "smoke", "--out", tmp_path / "one")[0] == 0
    found = commands.records(tmp_path / "one")
    assert commands.records(tmp_path / "two") == found
    assert {"fd", "psnr"} <= {name for record in found.values() for name in record["scores"]}


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stop_of_the_command_stops_all_workers(patient, number):
    process = patient.start("--workers", "2", "--method", "patient")
    (pid,) = patient.waiting()
    crew = psutil.Process(process.pid).children()
    assert pid in [worker.pid for worker in crew]
    process.send_signal(number)
    assert ended(process)[0] == 128 + number
    assert not [worker for worker in crew if worker.is_running()]
    assert [name for name in patient.claims() if name.endswith(".json")] == []


@pytest.mark.slow
def test_workers_end_when_the_command_is_killed(patient):
    process = patient.start("--workers", "2", "--method", "patient")
    patient.waiting()
    crew = psutil.Process(process.pid).children()
    process.kill()
    ended(process)
    assert psutil.wait_procs(crew, 20)[1] == []


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_and_another_takes_its_job(patient):
    process = patient.start("--workers", "2", "--method", "patient")
    (pid,) = patient.waiting()
    os.kill(pid, signal.SIGKILL)
    patient.waiting(2)
    patient.go()
    code, out, _ = ended(process)
    assert (code, "was ended by signal 9" in out) == (0, True)
    assert len([line for line in out.splitlines() if line.endswith("patient W4A4 seed 0")]) == 2
    assert [r["status"] for r in patient.records().values()] == ["done"] * 2


def test_a_job_that_fails_is_run_by_one_worker(tmp_path, tiny_folder, mpqbench, monkeypatch):
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    crash = Commands(tmp_path, tiny_folder, CRASH)
    code, out, _ = mpqbench(*crash.words, "--workers", "2")
    assert code == 1
    assert (tmp_path / "crashes").read_text(encoding="utf-8") == "x"
    told = [line for line in out.splitlines() if line.startswith("worker ")]
    assert len([line for line in told if "crash W4A4 seed 0: failed" in line]) == 1
    assert mpqbench(*crash.words)[0] == 1
    assert (tmp_path / "crashes").read_text(encoding="utf-8") == "xx"  # a new command tries again


LEAVE = "[{base: rtn, name: leave, rounding: {name: leave, how: %s}}, rtn]"


@pytest.mark.parametrize(
    ("how", "options", "tries", "reason"),
    [
        ("exit", ["--isolate"], 2, "ended with exit code 0"),
        ("segfault", ["--workers", "1"], 2, "ended by signal 11"),
        ("hang", ["--job-timeout", "4"], 1, "stopped after 4 s (--job-timeout)"),
        ("grow", ["--job-memory", "2"], 1, "GB of memory (--job-memory 2)"),
    ],
)
@pytest.mark.slow
def test_a_job_that_ends_its_process_fails_and_the_others_go_on(
    tmp_path, tiny_folder, mpqbench, monkeypatch, how, options, tries, reason
):
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    commands = Commands(tmp_path, tiny_folder, LEAVE % how)
    code, out, _ = mpqbench(*commands.words, *options)
    assert code == 1, out
    assert (tmp_path / "leaves").read_text(encoding="utf-8") == "x" * tries
    records = {r["method"]: r for r in commands.records().values()}
    assert {name: r["status"] for name, r in records.items()} == {
        "full-precision": "done", "leave": "failed", "rtn": "done"
    }  # fmt: skip
    assert reason in records["leave"]["reason"]
    assert commands.claims() == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--devices", "cpu,cuda:0"], "use devices of one kind"),
        (["--devices", "cuda:77"], "cuda"),
        (["--workers", "1", "--reference", "nowhere", "--features", "embedded"], "embedded"),
    ],
)
def test_a_mistake_is_told_once(patient, mpqbench, options, sentence):
    code, _, err = mpqbench(*patient.words, *options)
    assert (code, err.count("error: "), sentence in err) == (2, 1, True)
    assert patient.records() == {}


def test_other_settings_are_never_mixed_with_a_running_job(patient, mpqbench):
    patient.go()
    assert mpqbench(*patient.words)[0] == 0
    job = next(job for job in patient.records() if "patient" in job)
    claims = Claims(patient.folder / "claims")
    before = patient.records()
    with claims.hold(job, "another"):
        code, _, err = mpqbench(*patient.words, "--fresh")
    assert code == 2
    assert "with other settings, plugins or code" in err
    assert patient.records() == before


def test_each_worker_has_a_device_of_its_own(tmp_path, monkeypatch):
    given = []

    def prepare(*arguments, **settings):
        store = SimpleNamespace(folder=tmp_path)
        results = SimpleNamespace(stores=(), folder=tmp_path)
        given.append((arguments, settings))
        session = SimpleNamespace(store=store)
        return SimpleNamespace(session=session, run=lambda: results, concludes=False)

    tasks = []
    monkeypatch.setattr(Processes, "as_completed", lambda self: iter(self.tasks))
    monkeypatch.setattr(Processes, "submit", lambda self, task: tasks.append(task.settings))
    settings = {"devices": ["cuda:0", "cuda:1"], "budgets": ["W4A4"], "device": "cpu"}
    run_with(prepare, ("smoke",), settings | {"workers": 3})
    assert [task["device"] for task in tasks] == ["cuda:0", "cuda:1", "cuda:0"]
    assert {task["budgets"][0] for task in tasks} == {"W4A4"}
    assert len({task["campaign"] for task in tasks}) == 1
    tasks.clear()
    run_with(prepare, ("smoke",), settings)
    assert [task["device"] for task in tasks] == ["cuda:0", "cuda:1"]
    assert {settings["device"] for _, settings in given} == {"cuda:0"}


def test_workers_import_what_the_command_imports(tmp_path, tiny_folder, mpqbench, monkeypatch):
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    commands = Commands(tmp_path, tiny_folder, "[rtn]")
    clone = tmp_path / "clone" / "mpqbench"
    clone.mkdir(parents=True)
    (clone / "__init__.py").write_text("raise ImportError('not this one')\n", encoding="utf-8")
    monkeypatch.chdir(clone.parent)
    assert mpqbench(*commands.words, "--workers", "1")[0] == 0


def test_there_are_as_many_workers_as_processors_memory_and_shards(tmp_path, monkeypatch):
    monkeypatch.delenv("MPQBENCH_WORKERS")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(workers, "_processors", lambda: 8)
    free = SimpleNamespace(available=1e12)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert workers.usual_workers() == 4
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "a.safetensors").write_bytes(bytes(10**6))
    free.available = 3 * (2e9 + 4e6)
    assert workers.usual_workers([str(tmp_path)]) == 3
    free.available = 1
    assert workers.usual_workers() == 1
    monkeypatch.setenv("MPQBENCH_WORKERS", "7")
    assert workers.usual_workers() == 7
    monkeypatch.setenv("MPQBENCH_WORKERS", "two")
    with pytest.raises(BenchError, match="MPQBENCH_WORKERS=two: use a whole number of at least 1"):
        workers.usual_workers()


def test_a_command_starts_its_processes_and_none_where_all_is_done(
    tmp_path, tiny_folder, mpqbench, monkeypatch
):
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    monkeypatch.setenv("MPQBENCH_WORKERS", "2")
    commands = Commands(tmp_path, tiny_folder, "[rtn]")
    code, out, _ = mpqbench(*commands.words)
    assert code == 0
    assert "2 processes of this machine (--workers) for the jobs that are left" in out
    first, logs = commands.records(), commands.folder / "logs"
    assert logs.is_dir()
    shutil.rmtree(logs)
    code, out, _ = mpqbench(*commands.words)
    assert (code, out.count("done before"), logs.exists()) == (0, 2, False)
    assert commands.records() == first
    alone = mpqbench(*commands.words, "--executor", "in-process", "--out", tmp_path / "alone")
    assert alone[0] == 0
    assert commands.records(tmp_path / "alone") == first


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"executor": "dask", "job_timeout": 5}, "--job-timeout is not for the executor 'dask'"),
        ({"executor": "in-process", "workers": 2}, "--workers is not for the executor"),
        ({"executor": "threads"}, "use in-process, processes, dask"),
        ({"scheduler": "tcp://127.0.0.1:1", "devices": ["cuda:0"]}, "--devices is not for"),
    ],
)
def test_options_of_another_executor_are_refused(options, sentence):
    with pytest.raises(BenchError, match=sentence):
        run_with(None, (), options)


def test_a_job_array_tries_a_job_once(tmp_path, tiny_folder, mpqbench, monkeypatch):
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    crash, tries = Commands(tmp_path, tiny_folder, CRASH), tmp_path / "crashes"
    fresh = ("9", ["--fresh"], "xxx")
    for array, options, tried in (*[("7", [], "x")] * 2, ("8", [], "xx"), fresh, fresh):
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", array)
        code, out, _ = mpqbench(*crash.words, *options)
        assert (code, tries.read_text(encoding="utf-8")) == (1, tried)
        assert (
            f"{len(crash.records())} jobs: 2 done, 0 running, 0 left, 1 failed"
            in mpqbench("status", crash.folder)[1]
        )
    assert len(begun(out)) == 0  # a fresh run of the same array has run all jobs already


@pytest.mark.slow
def test_workers_of_an_ablation_give_its_tables(tmp_path, tiny_folder, mpqbench):
    few = ["--protocol", "smoke", "--images", 8, "--steps", 2, "--micro-batch", 4]
    few += ["--calibration", 4, "--features", "none", "--budget", "W3A3", "--model", tiny_folder]
    words = ["ablate", "gptq", "--factor", "rounding.damping=0.01|0.1", *few]
    assert mpqbench(*words, "--out", tmp_path / "two", "--workers", "2")[0] == 0
    assert mpqbench(*words, "--out", tmp_path / "one")[0] == 0
    effects = [(tmp_path / name / "effects.csv").read_bytes() for name in ("one", "two")]
    assert effects[0] == effects[1]
