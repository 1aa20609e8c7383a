"""Finished searches are kept: shared by jobs that differ after them, and not done twice."""

import pandas as pd
from lines import Lines

from mpqbench import api
from mpqbench.core.cache import Cache

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


def _traces(out, method):
    return {
        path.name.partition(".")[2]: pd.read_parquet(path)
        for path in (out / "traces").glob(f"*__{method}__*.parquet")
    }


def test_jobs_that_search_alike_share_a_search(tiny_folder, tmp_path):
    path, out = tmp_path / "suite.yaml", tmp_path / "out"
    path.write_text(SUITE)

    def run():
        lines = Lines()
        records = api.run(str(path), models=[str(tiny_folder)], out=out, reporter=lines)
        assert {record.status for record in records} == {"done"}
        return {record.method: record for record in records}, lines.text

    records, _ = run()
    searches = Cache(out / "cache/searches")
    kept = [entry.stem for entry in searches.folder.iterdir()]
    assert len(kept) == 3  # and none of uniform precision
    first, second = records["first"], records["second"]  # which writes defaults down
    assert second.search_evals == first.search_evals
    assert second.allocation == first.allocation
    mine, theirs = _traces(out, "second"), _traces(out, "first")
    assert mine.keys() == theirs.keys() == {"parquet", "merges.parquet"}
    for name, table in mine.items():
        pd.testing.assert_frame_equal(table, theirs[name])

    # A search from the cache is charged for as if it had been done.
    for name in kept:
        searches.write(name, searches.read(name) | {"cached_seconds": 1000.0})
    (out / "records" / f"{second.job}.json").unlink()
    assert 1000 <= run()[0]["second"].seconds["search"] < 2000

    (out / "records" / f"{first.job}.json").unlink()
    for name in kept:
        (searches.folder / f"{name}.pt").write_bytes(b"{")
    records, told = run()
    assert told.count("is damaged") == 1
    assert records["first"].allocation == first.allocation
    assert records["first"].search_evals == first.search_evals
    assert records["first"].seconds["search"] < 1000
