"""Finished searches are kept: shared by jobs that differ after them, and not done twice."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from mpqbench.core.cache import Cache
from mpqbench.core.precision import Allocation, Precision
from mpqbench.job.search_result import SearchResult
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


def _record(out, method):
    (path,) = (out / "records").glob(f"*__{method}__*.json")
    return json.loads(path.read_text())


def _traces(out, method):
    return {
        path.name.partition(f"__{method}__")[2]: pd.read_parquet(path)
        for path in (out / "traces").glob(f"*__{method}__*.parquet")
    }


def test_jobs_that_search_alike_share_a_search(mpqbench, tiny_folder, tmp_path):
    path, out = tmp_path / "suite.yaml", tmp_path / "out"
    path.write_text(SUITE)

    def run(*options):
        return mpqbench("run", path, "--model", tiny_folder, "--out", out, *options)[:2]

    assert run()[0] == 0
    searches = Cache(out / "cache/searches")
    kept = [entry.stem for entry in searches.folder.iterdir()]
    assert len(kept) == 3  # and none of uniform precision
    first, second = _record(out, "first"), _record(out, "second")  # which writes defaults down
    assert second["search_evals"] == first["search_evals"]
    assert second["allocation"] == first["allocation"]
    mine, theirs = _traces(out, "second"), _traces(out, "first")
    assert mine.keys() == theirs.keys() == {"W4A4__s0.parquet", "W4A4__s0.merges.parquet"}
    for name, table in mine.items():
        pd.testing.assert_frame_equal(table, theirs[name])

    # A search from the cache is charged for as if it had been done.
    for name in kept:
        searches.write(name, searches.read(name) | {"seconds": 1000.0})
    (out / "records" / f"{second['job']}.json").unlink()
    assert run()[0] == 0
    assert 1000 <= _record(out, "second")["seconds"]["search"] < 2000

    (out / "records" / f"{first['job']}.json").unlink()
    for name in kept:
        (searches.folder / f"{name}.pt").write_bytes(b"{")
    code, told = run()
    assert (code, told.count("is damaged")) == (0, 1)
    again = _record(out, "first")
    assert again["allocation"] == first["allocation"]
    assert again["search_evals"] == first["search_evals"]
    assert again["seconds"]["search"] < 1000


def test_what_is_kept_comes_back(tmp_path):
    trace = Trace(2)
    trace.add(np.float64(0.5), 1, 10.0, np.bool_(True), 3.0)
    trace.add(np.float64(1.5), 2, 20.0, np.bool_(True), 1 / 3)
    notes = {"merges": [{"node": np.array([0, 1])}, {"node": [2]}]}
    allocation = Allocation({"a": Precision(4, 4), "b": Precision(3, 4)})
    result = SearchResult(allocation, np.float64(1.5), trace, notes, 0.25)
    cache = Cache(tmp_path)
    cache.write("one", result.to_cache(7.5))
    back = SearchResult.from_cache(cache.read("one"))
    assert (back.allocation, back.spent, back.cached_seconds) == (allocation, 1.5, 7.5)
    assert (back.trace.complete, back.trace.best) == (2, trace.best)
    tables = [pd.DataFrame(own.rows, columns=list(COLUMNS)) for own in (back.trace, trace)]
    pd.testing.assert_frame_equal(*tables)
    assert back.notes == {"merges": [{"node": [0, 1, 2]}]}
