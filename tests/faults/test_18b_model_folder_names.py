"""A model folder of any name runs, runs again with --fresh, and is done afterwards."""

import re
import shutil

import pytest

from mpqbench.core.precision import Budget
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.core.recipe import FULL_PRECISION
from mpqbench.core.suite import Job
from mpqbench.records.store import RecordStore

NAMES = [
    "図",
    "_dit",
    ".dit",
    "(dit",
    "@dit",
    "[dit]",
    "ü b",
    "-dit",
    "dit-",
    "d" * 200,
    "~dit",
    "%",
]


@pytest.mark.parametrize("name", [*NAMES, "..", ".", "/", "a/", ""])
def test_every_folder_has_a_job_id_that_is_safe(tmp_path, name):
    job = Job(name, FULL_PRECISION, Budget.parse("W4A4"), 0, PROTOCOLS["smoke"])
    assert RecordStore(tmp_path).record_path(job.id).name == f"{job.id}.json"
    assert len(job.id) < 120


def test_names_of_usual_models_stay_as_they_are():
    job = Job("fashion-dit", FULL_PRECISION, Budget.parse("W4A4"), 0, PROTOCOLS["smoke"])
    assert re.fullmatch("fashion-dit__full-precision__W4A4__s0__p[0-9a-f]{6}", job.id)


def test_a_folder_with_a_strange_name_runs_twice(tiny_folder, tmp_path, mpqbench):
    folder = shutil.copytree(tiny_folder, tmp_path / "[図")
    options = ("--images", 4, "--steps", 1, "--features", "none", "--micro-batch", 4)
    command = ("run", "smoke", "--model", folder, "--method", "rtn", "--budget", "W4A4", *options)
    for more in ((), ("--fresh",)):
        assert mpqbench(*command, "--out", tmp_path / "out", *more)[0] == 0
    records = RecordStore(tmp_path / "out").read_all()
    assert [record.status for record in records] == ["done", "done"]
