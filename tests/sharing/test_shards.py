"""Processes make the shards of one job together: each once, with the records of one process."""

import os
import re
import subprocess
import sys
import time
from collections import Counter

import pytest
from commands import ended, records_in

SUITE = """
name: shards
protocol: {base: smoke, images: 16, steps: 2, micro_batch: 4, calibration: 4, features: none}
budgets: [W4A4]
methods:
  - base: rtn
    name: all-slots
    searcher: {name: random, draws: 2}
    rounding: {name: adaround, iterations: 2}
    branch: {name: low-rank, rank: 1}
    branch_in_budget: false
    tuner: {name: peft, steps: 2, every: 2, batch: 2, trajectories: 2, held_out: 2}
    correction: {name: unbiased, images: 4}
"""
# Notes what each process samples, searches and fits. The process that runs a job waits, before its
# first shard, for another one to have a shard; a process may end itself where it is told to.
COMMAND = """
import os, signal, sys, time
from pathlib import Path
from mpqbench.baselines.correction_module import Unbiased
from mpqbench.cli.main import main
from mpqbench.job import filling, search_stage
from mpqbench.report import write
from mpqbench.baselines.roundings.adaround import AdaRound
from mpqbench.tuning import loop

PLACE, TOGETHER = Path(sys.argv.pop(1)), int(sys.argv.pop(1))
ENDS = sys.argv.pop(1)


def note(what):
    with (PLACE / "notes").open("a") as file:
        file.write(f"{os.getpid()} {what}\\n")


def others(job):
    lines = (PLACE / "notes").read_text().splitlines()
    return [l for l in lines if f"begins {job}" in l and not l.startswith(str(os.getpid()))]


def noting(place, name, what):
    before = getattr(place, name)

    def noted(*arguments, **named):
        note(what)
        return before(*arguments, **named)

    setattr(place, name, noted)


def sampled(self, start, stop, before=filling.Filling._sampled):
    job = self.store.folder.name
    note(f"begins {job} {start}")
    until = time.monotonic() + 120
    while TOGETHER and start == 0 and not others(job) and time.monotonic() < until:
        time.sleep(0.02)
    if start and (ENDS == "owner" or ENDS == "helper" and "all-slots" in job):
        os.kill(os.getpid(), signal.SIGKILL)
    content = before(self, start, stop)
    note(f"ends {job} {start}")
    return content


filling.Filling._sampled = sampled
noting(search_stage, "_search", "searches")
noting(AdaRound, "round", "rounds")
noting(loop._Run, "one_step", "trains")
noting(Unbiased, "fit", "corrects")
write.save_all = lambda *_: []  # no figures
main()
""".replace("correction_module", "corrections.unbiased")


LEAVE = """
import os
from mpqbench.contracts import Rounding, plugin


@plugin
class Leave(Rounding):
    def round(self, weight, layer, fmt, bits):
        os._exit(0)


PLUGINS = {"rounding": {"leave": Leave}}
"""


class Together:
    """Processes with the same command on the folder ``run`` below ``place``."""

    def __init__(self, place, model):
        self.place, self.folder = place, place / "run"
        (place / "shards.yaml").write_text(SUITE, encoding="utf-8")
        (place / "notes").touch()
        words = ("run", place / "shards.yaml", "--model", model, "--batch-size", "4")
        self.words = [*map(str, words)]

    def start(self, ends="none", together=1, out=None, more=()):
        words = [sys.executable, "-c", COMMAND, self.place, together, ends, *self.words, *more]
        words = [*map(str, words), "--out", str(out or self.folder)]
        own = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(words, env=own, **pipes)

    def notes(self):
        """What was noted, without the processes, and by which processes."""
        lines = (self.place / "notes").read_text(encoding="utf-8").splitlines()
        counts = Counter(line.partition(" ")[2] for line in lines)
        return counts, {line.split()[0] for line in lines if " ends " in line}


@pytest.fixture(scope="module")
def alone(tiny_folder, tmp_path_factory):
    """The records of one process, and what it noted."""
    one = Together(tmp_path_factory.mktemp("alone"), tiny_folder)
    code, out, err = ended(one.start(together=0), 1000)
    assert code == 0, out + err
    return records_in(one.folder), one.notes()[0]


@pytest.fixture
def both(tiny_folder, tmp_path):
    return Together(tmp_path, tiny_folder)


@pytest.mark.slow
def test_two_processes_make_each_shard_once_and_fit_nothing_twice(both, alone):
    processes = [both.start(), both.start()]
    outs = [ended(process, 1000) for process in processes]
    assert [code for code, *_ in outs] == [0, 0], outs
    records, noted = alone
    assert records_in(both.folder) == records
    assert {r["status"] for r in records.values()} == {"done"}
    found, who = both.notes()
    assert found == noted
    assert len(who) == 2
    assert sum(out.count("made ") for _, out, _ in outs) >= 2
    assert list((both.folder / "claims").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("roles", [((), ("helper",)), (("owner",), ())], ids=["helper", "owner"])
def test_a_process_that_is_killed_leaves_its_work_to_the_other(both, alone, roles):
    """No shard is made twice, whether the killed process helps with the job or runs it."""
    first = both.start(*roles[0])
    while not (both.place / "notes").read_text(encoding="utf-8"):  # the first one runs the job
        assert first.poll() is None
        time.sleep(0.05)
    outs = [ended(process, 1000) for process in (first, both.start(*roles[1]))]
    assert sorted(code for code, *_ in outs) == [-9, 0], outs
    assert records_in(both.folder) == alone[0]
    found, _ = both.notes()
    assert {n for what, n in found.items() if what.startswith("ends")} == {1}


@pytest.mark.slow
def test_two_workers_of_dask_give_the_records_of_one_process(both, alone, mpqbench):
    pytest.importorskip("distributed")
    words = [*both.words, "--executor", "dask", "--workers", "2", "--out", both.folder]
    code, out, err = mpqbench(*words)
    assert code == 0, out + err
    assert records_in(both.folder) == alone[0]
    assert len(re.findall(r"^worker tls://\S+: \[[12]/2\] .* seed 0$", out, re.MULTILINE)) == 2
    code, out, _ = mpqbench("status", both.folder)
    assert "2 jobs: 2 done, 0 running, 0 left" in out


@pytest.mark.slow
def test_a_job_that_ends_workers_of_dask_fails_and_the_others_go_on(both, mpqbench):
    pytest.importorskip("distributed")
    (both.place / "plugin.py").write_text(LEAVE, encoding="utf-8")
    methods = "[{base: rtn, name: leave, rounding: leave}, rtn]"
    text = SUITE.partition("methods:")[0] + f"methods: {methods}\n"
    (both.place / "shards.yaml").write_text(text, encoding="utf-8")
    more = ["--plugins", both.place / "plugin.py", "--executor", "dask", "--workers", "1"]
    code, out, err = mpqbench(*both.words, *more, "--out", both.folder)
    assert code == 1, out + err
    found = {r["method"]: (r["status"], r["reason"]) for r in records_in(both.folder).values()}
    assert found == {
        "full-precision": ("done", ""),
        "leave": ("failed", "2 workers of Dask ended while they ran it"),
        "rtn": ("done", ""),
    }


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("tcp://127.0.0.1:1", "no scheduler of Dask answers at"), ("what://", "no scheduler of Dask")],
)
def test_a_scheduler_that_does_not_answer_is_one_sentence(
    both, mpqbench, monkeypatch, address, sentence
):
    pytest.importorskip("distributed")
    monkeypatch.setattr("mpqbench.executors.dask_cluster._SECONDS", 0.5)
    words = [*both.words, "--scheduler", address, "--out", both.folder]
    code, _, err = mpqbench(*words)
    assert (code, err.count("error: "), sentence in err) == (2, 1, True), err
    assert "Traceback" not in err
