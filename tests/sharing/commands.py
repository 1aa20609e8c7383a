"""Small runs as processes of their own, with a method that waits until it may go on."""

import json
import os
import subprocess
import sys
import time

PLUGIN = """
import os, time
from pathlib import Path
from mpqbench.contracts import Rounding, plugin
from mpqbench.quant.affine import quantize_weight

HERE = Path(os.environ["TEST_PLACE"])


@plugin
class Patient(Rounding):
    def round(self, weight, layer, fmt, bits):
        (HERE / f"waits-{os.getpid()}").touch()
        while not (HERE / "go").exists():
            time.sleep(0.02)
        return quantize_weight(weight, fmt, bits, layer.name)


@plugin
class Crash(Rounding):
    def round(self, weight, layer, fmt, bits):
        with (HERE / "crashes").open("a") as file:
            file.write("x")
        return weight.no_such_method()


@plugin
class Leave(Rounding):
    how: str = "exit"

    def round(self, weight, layer, fmt, bits):
        with (HERE / "leaves").open("a") as file:
            file.write("x")
        if self.how == "exit":
            os._exit(0)
        if self.how == "segfault":
            import ctypes
            ctypes.string_at(0)
        held = []
        while True:
            time.sleep(0.1)
            if self.how == "grow":
                held.append(b"x" * 200_000_000)


PLUGINS = {"rounding": {"patient": Patient, "crash": Crash, "leave": Leave}}
"""
SUITE = """
name: shared
protocol: {base: smoke, images: 8, steps: 2, micro_batch: 4, features: none}
budgets: [W4A4]
methods: %s
"""
PATIENT = "[{base: rtn, name: patient, rounding: patient}, rtn]"
CRASH = "[{base: rtn, name: crash, rounding: crash}, rtn]"


class Commands:
    """Commands on one folder ``run`` under ``place``."""

    def __init__(self, place, model, methods):
        self.place, self.folder = place, place / "run"
        (place / "plugin.py").write_text(PLUGIN, encoding="utf-8")
        (place / "shared.yaml").write_text(SUITE % methods, encoding="utf-8")
        words = ("run", place / "shared.yaml", "--model", model, "--out", self.folder)
        self.words = [*map(str, words), "--plugins", str(place / "plugin.py")]

    def start(self, *more):
        own = os.environ | {"TEST_PLACE": str(self.place), "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        words = [sys.executable, "-m", "mpqbench", *self.words, *more]
        return subprocess.Popen(words, env=own, **pipes)

    def go(self):
        (self.place / "go").touch()

    def waiting(self, count=1):
        """Wait until ``count`` processes are in a job of the patient method; return their ids."""
        for _ in range(3000):
            found = [int(path.name.split("-")[1]) for path in self.place.glob("waits-*")]
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise TimeoutError("no job has begun")

    def records(self, folder=None):
        """What the records say, as ``records_in``."""
        return records_in(folder or self.folder)

    def claims(self):
        return [path.name for path in (self.folder / "claims").iterdir()]


def records_in(folder):
    """What the records of a folder say but for times and places, by job.

    Traces of searches and trainings have seconds, so that their digests are left out too.
    """
    apart = ("seconds", "peak_mb", "provenance", "checksum")
    found = {}
    for path in sorted((folder / "records").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        files = record["files"].items()
        record["files"] = {name: d for name, d in files if not name.startswith("traces/")}
        found[record["job"]] = {k: v for k, v in record.items() if k not in apart}
    return found


def ended(process, seconds=120):
    """The exit code, output and errors of a process."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


def begun(*outputs):
    """The jobs that these outputs say were begun, each a line without a word after the seed."""
    lines = [line for out in outputs for line in out.splitlines()]
    return sorted(line.split("] ")[1] for line in lines if line.endswith("seed 0"))
