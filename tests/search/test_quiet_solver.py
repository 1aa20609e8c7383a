"""The integer program prints nothing, whatever its native code prints, and everyone else may."""

from __future__ import annotations

import ctypes
import os
import sys

import numpy as np
import pytest
import scipy.optimize

from mpqbench.core.precision import Budget, Precision
from mpqbench.search.feasible import Arrays
from mpqbench.search.knapsack import solve
from mpqbench.search.tabular import random_problem

CHOICES = [Precision(w, a) for w in (2, 4) for a in (3, 4)]


@pytest.fixture
def problem():
    problem = random_problem(6, CHOICES, Budget.parse("W3A3"), seed=0)
    return [problem.table()[group] for group in problem.groups], Arrays.of(problem)


@pytest.mark.skipif(os.name == "nt", reason="names the C library as POSIX does")
def test_what_native_code_prints_is_dropped_and_the_rest_is_kept(problem, monkeypatch, capfd):
    real, libc = scipy.optimize.milp, ctypes.CDLL(None)

    def talkative(*arguments, **options):
        libc.puts(b"HighsMipSolverData: a line that no option turns off")
        os.write(2, b"an error\n")
        return real(*arguments, **options)

    expected = solve(*problem)
    monkeypatch.setattr(scipy.optimize, "milp", talkative)
    libc.puts(b"native, before")
    print("before")
    assert np.array_equal(solve(*problem), expected)
    libc.puts(b"native, after")
    print("after")
    libc.fflush(None)
    out, err = capfd.readouterr()
    assert sorted(out.split("\n")) == ["", "after", "before", "native, after", "native, before"]
    assert set(err.split("\n")) == {"an error", ""}


def test_standard_output_is_back_after_an_error(problem, monkeypatch, capfd):
    def failing(*_arguments, **_options):
        raise RuntimeError("inside")

    monkeypatch.setattr(scipy.optimize, "milp", failing)
    with pytest.raises(RuntimeError, match="inside"):
        solve(*problem)
    sys.stdout.flush()
    os.write(1, b"still here\n")
    assert capfd.readouterr().out == "still here\n"
