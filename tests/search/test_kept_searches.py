"""Finished searches are kept: shared by jobs that differ after them, and not done twice."""

from __future__ import annotations

import json
import sys

import pandas as pd
import pytest

from mpqbench.cli.main import main
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Allocation, Precision
from mpqbench.job.search_result import SearchResult, SearchStore
from mpqbench.search.trace import COLUMNS, Trace

SUITE = """
protocol: {base: smoke, images: 8, steps: 2, micro_batch: 8, calibration: 8, features: none}
budgets: [W4A4]
methods:
  - &tss {base: rtn, name: first, searcher: {name: tss, keep: 2}, choices: [W3A3, W4A4, W5A5]}
  - {<<: *tss, name: second, searcher: {name: tss, spread: 2.0, keep: 2, order: network}}
  - {<<: *tss, name: noisy, environment: eng}
  - {<<: *tss, name: other-limit, evaluations: 1000}
  - {base: rtn, name: uniform}
"""


def _run(folder, model, *options):
    path = folder / "suite.yaml"
    path.write_text(SUITE)
    before, sys.argv = sys.argv, ["mpqbench", "run", str(path), "--model", str(model)]
    sys.argv += ["--out", str(folder / "out"), *options]
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = before
    return end.value.code


def _record(out, method):
    (path,) = (out / "records").glob(f"*__{method}__*.json")
    return json.loads(path.read_text())


def _traces(out, method):
    return {
        path.name.partition(f"__{method}__")[2]: pd.read_parquet(path)
        for path in (out / "traces").glob(f"*__{method}__*.parquet")
    }


def test_jobs_that_search_alike_share_a_search(tiny_folder, tmp_path):
    assert _run(tmp_path, tiny_folder) == 0
    out = tmp_path / "out"
    assert len(list((out / "calibration/searches").iterdir())) == 3  # and none of uniform precision
    first, second = _record(out, "first"), _record(out, "second")  # which writes defaults down
    assert second["search_evals"] == first["search_evals"]
    assert second["allocation"] == first["allocation"]
    mine, theirs = _traces(out, "second"), _traces(out, "first")
    assert mine.keys() == theirs.keys() == {"W4A4__s0.parquet", "W4A4__s0.merges.parquet"}
    for name, table in mine.items():
        pd.testing.assert_frame_equal(table, theirs[name])

    # A kept search is charged for as if it had been done.
    kept = list((out / "calibration/searches").rglob("search.json"))
    for path in kept:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 1000.0}))
    (out / "records" / f"{second['job']}.json").unlink()
    assert _run(tmp_path, tiny_folder) == 0
    assert 1000 <= _record(out, "second")["seconds"]["search"] < 2000

    (out / "records" / f"{first['job']}.json").unlink()
    for path in kept:
        path.write_text("{")
    assert _run(tmp_path, tiny_folder) == 1
    assert "delete it and run again" in _record(out, "first")["reason"]
    assert _run(tmp_path, tiny_folder, "--fresh") == 0
    again = _record(out, "first")
    assert again["allocation"] == first["allocation"]
    assert again["search_evals"] == first["search_evals"]


@pytest.fixture
def found():
    trace = Trace(2)
    trace.add(0.5, 1, 10.0, True, 3.0)
    trace.add(1.5, 2, 20.0, True, 1 / 3)
    notes = {"merges": [{"node": [0, 1]}, {"node": [2]}]}
    return SearchResult(
        Allocation({"a": Precision(4, 4), "b": Precision(3, 4)}), 1.5, trace, notes, 0.25
    )


def test_what_is_kept_comes_back(found, tmp_path):
    store = SearchStore(tmp_path)
    assert store.read("mark") is None
    store.write("mark", found, 7.5)
    back = store.read("mark")
    assert (back.allocation, back.spent, back.borrowed) == (found.allocation, 1.5, 7.5)
    assert back.trace.complete == 2
    assert back.trace.best == found.trace.best
    own = pd.DataFrame(found.trace.rows, columns=list(COLUMNS))
    pd.testing.assert_frame_equal(pd.DataFrame(back.trace.rows, columns=list(COLUMNS)), own)
    assert back.notes == {"merges": [{"node": [0, 1, 2]}]}


@pytest.mark.parametrize("broken", ["search.json", "trace.parquet", "merges.parquet"])
def test_a_damaged_search_is_named(found, tmp_path, broken):
    store = SearchStore(tmp_path)
    store.write("mark", found, 7.5)
    (tmp_path / "mark" / broken).write_bytes(b"{")
    with pytest.raises(BenchError, match=r"mark is corrupt \(.*\): delete it and run again"):
        store.read("mark")


def test_a_search_that_was_not_written_whole_is_none(found, tmp_path):
    store = SearchStore(tmp_path)
    store.write("mark", found, 7.5)
    (tmp_path / "mark" / "search.json").unlink()
    assert store.read("mark") is None
