"""Runs of the smoke suite on a tiny model with plugins that a test writes, and their table."""

import json
import textwrap

HEAD = """
import os, random, sys, warnings
import numpy as np
import torch
from dataclasses import replace
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.contracts import (
    Branch, BranchSize, Correction, Curve, QuantizedWeight, Rounding, Searcher, Transform, Tuner,
    plugin,
)
from mpqbench.core.precision import Allocation
"""
SMOKE = """
name: faults
models: [{model}]
protocol: {{base: smoke, images: 8, steps: 2, calibration: 8, micro_batch: 8, features: none}}
methods: [{methods}]
budgets: [W4A4]
"""


def write_plugins(path, body):
    """Write a plugin file with the imports that all tests need."""
    path.write_text(HEAD + textwrap.dedent(body), encoding="utf-8")
    return path


def run_methods(mpqbench, folder, model, methods, body=""):
    """Run ``methods``, YAML of a recipe each, on W4A4 with the plugins of ``body``.

    Gives the exit code, what was printed to stderr, and the records by method.
    """
    suite = folder / "suite.yaml"
    suite.write_text(SMOKE.format(model=model, methods=", ".join(methods)), encoding="utf-8")
    words = ["run", suite, "--out", folder / "out"]
    if body:
        words += ["--plugins", write_plugins(folder / "own_plugins.py", body)]
    code, out, err = mpqbench(*words)
    found = (folder / "out" / "records").glob("*.json")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    return code, out + err, {record["method"]: record for record in records}
