"""Finished searches are kept: shared by jobs that differ after them, and not done twice."""

import math

import numpy as np
import pandas as pd
import pytest
from lines import Lines

from mpqbench import api
from mpqbench.core.cache import Cache
from mpqbench.core.precision import Precision
from mpqbench.core.stop import Terminated
from mpqbench.search.kept_scores import KeptScores
from mpqbench.search.scoring import JointScorer

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


@pytest.mark.parametrize(
    ("method", "stop"), [("first", KeyboardInterrupt), ("evolved", Terminated)]
)
def test_a_stopped_search_goes_on_after_its_last_scoring(
    tiny_folder, tmp_path, monkeypatch, method, stop
):
    suite = SUITE + "  - {base: rtn, name: evolved, searcher: {name: evolutionary, population: 4, "
    suite += "generations: 4}, choices: [W3A3, W4A4, W5A5]}\n"
    (tmp_path / "suite.yaml").write_text(suite)
    real, calls, limit = JointScorer.scores, [], [math.inf]

    def counted(self, allocations):
        if len(calls) >= limit[0]:
            raise stop
        calls.append(len(allocations))
        return real(self, allocations)

    monkeypatch.setattr(JointScorer, "scores", counted)

    def run(name):
        calls.clear()
        lines, settings = Lines(), {"models": [str(tiny_folder)], "methods": [method]}
        found = api.run(
            str(tmp_path / "suite.yaml"), out=tmp_path / name, reporter=lines, **settings
        )
        (record,) = (record for record in found if record.method == method)
        return record, lines.text, list(calls)

    whole, _, every = run("whole")
    assert len(every) >= 4
    kept, done = tmp_path / "stopped/cache/searching", 3
    for stops, limit[0] in enumerate((1, 2), 1):
        with pytest.raises(stop):
            run("stopped")
        assert len(list(kept.iterdir())) == stops
    limit[0] = math.inf
    record, told, rest = run("stopped")
    assert (record.status, record.search_evals) == ("done", whole.search_evals)
    assert f"goes on after {done} kept scorings" in told
    assert rest == every[done:]
    assert list(kept.iterdir()) == []
    mine, theirs = _traces(tmp_path / "stopped", method), _traces(tmp_path / "whole", method)
    assert mine.keys() == theirs.keys()
    for name, table in mine.items():
        seconds = table.pop("seconds") if "seconds" in table else pd.Series([0.0])
        assert seconds.is_monotonic_increasing
        pd.testing.assert_frame_equal(table, theirs[name].drop(columns="seconds", errors="ignore"))


def test_scores_of_another_question_are_not_taken(tmp_path):
    choice = Precision(4, 4)
    asked = [[{"a": choice}], [{"b": choice}], [{"c": choice}]]

    def answers(kept, questions):
        made = []

        def make(value):
            made.append(value)
            return np.array([value]), value

        given = [kept.scores(q, lambda v=v: make(v))[1] for v, q in enumerate(questions)]
        return given, made

    first = KeptScores(Cache(tmp_path), "f")
    answers(first, asked)
    first.write()
    assert answers(KeptScores(Cache(tmp_path), "f"), asked) == ([0, 1, 2], [])
    assert answers(KeptScores(Cache(tmp_path), "g"), asked)[1] == [0, 1, 2]
    other = [asked[0], asked[2], asked[1]]
    assert answers(KeptScores(Cache(tmp_path), "f"), other) == ([0, 1, 2], [1, 2])
    flipped = bytearray((tmp_path / "f-00000000.pt").read_bytes())
    flipped[50] ^= 4
    (tmp_path / "f-00000000.pt").write_bytes(flipped)
    assert answers(KeptScores(Cache(tmp_path), "f"), asked)[1] == [0, 1, 2]
