"""A search inside a run: scores from calibration, an allowance, a trace, quality elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mpqbench.api import run
from mpqbench.core.precision import Allocation
from mpqbench.job.search_result import SearchResult
from mpqbench.records.store import RecordStore
from mpqbench.search.trace import Trace

PLUGINS = '''
from mpqbench.contracts import Searcher, plugin
from mpqbench.core.errors import Exhausted
from mpqbench.core.precision import Allocation


@plugin
class Draws(Searcher):
    """The best of some random allocations that fit."""

    draws: int = 6

    def search(self, problem):
        found = Allocation({g: problem.choices(g)[0] for g in problem.groups})
        try:
            problem.score(found)
            for _ in range(self.draws):
                own = {g: problem.choices(g) for g in problem.groups}
                drawn = {g: c[problem.rng.integers(len(c))] for g, c in own.items()}
                if problem.fits(drawn):
                    problem.score(drawn)
        except Exhausted:
            pass
        return problem.best()


PLUGINS = {"searcher": {"draws": Draws}}
'''

SUITE = """
protocol: {base: smoke, images: 8, steps: 2, micro_batch: 8, calibration: 8, features: none}
budgets: [W4A4]
methods:
  - {base: rtn, name: drawn, searcher: {name: draws, draws: 12}, choices: [W2A3, W4A4]}
  - {base: rtn, name: few, searcher: {name: draws, draws: 12}, choices: [W2A3, W4A4],
     evaluations: 3}
  - {base: rtn, name: noisy, searcher: {name: draws, draws: 2}, choices: [W2A3, W4A4],
     environment: {name: eng, noise: 0.5}}
  - {base: rtn, name: fisher, searcher: {name: draws, draws: 2}, objective: fisher}
"""


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    """The results of the suite on a tiny model."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "draws.py").write_text(PLUGINS)
    (folder / "suite.yaml").write_text(SUITE)
    settings = {"models": [str(tiny_folder)], "plugins": [folder / "draws.py"]}
    run(str(folder / "suite.yaml"), out=folder / "out", **settings)
    return folder / "out"


def _record(folder, method):
    (path,) = (folder / "records").glob(f"*__{method}__*.json")
    return json.loads(path.read_text())


def _trace(folder, method):
    (path,) = (folder / "traces").glob(f"*__{method}__*.parquet")
    return pd.read_parquet(path)


def test_the_best_of_the_trace_is_what_was_quantized(folder):
    record, trace = _record(folder, "drawn"), _trace(folder, "drawn")
    assert record["status"] == "done"
    assert record["search_evals"] == pytest.approx(trace.forwards.iloc[-1])
    best = trace[trace.fits & (trace.score == trace.best.iloc[-1])].iloc[0]
    assert best.cost == record["costs"]["bitops_linear"]
    assert record["costs"]["satisfied"]
    assert record["scores"]["output_mse"]["value"] > 0


def test_an_allowance_of_a_recipe_is_hard(folder):
    record, trace = _record(folder, "few"), _trace(folder, "few")
    assert record["status"] == "done"
    assert record["search_evals"] <= 3
    assert len(trace) == 3
    whole = _trace(folder, "drawn")
    np.testing.assert_allclose(trace.score, whole.score[:3])  # one seed, one sequence


def test_nothing_is_outside_a_complete_allocation(folder):
    # So whatever the environment, its score is the same.
    noisy, plain = _trace(folder, "noisy"), _trace(folder, "drawn")
    np.testing.assert_allclose(noisy.score, plain.score[: len(noisy)], rtol=1e-5)


def test_an_objective_without_joint_scores_says_so(folder):
    record = _record(folder, "fisher")
    assert record["status"] == "failed"
    assert "Fisher scores single groups and no whole allocation" in record["reason"]


def test_a_method_without_a_search_leaves_no_trace(folder):
    assert not list((folder / "traces").glob("*full-precision*"))


def test_a_job_run_again_with_another_search_leaves_no_table_of_the_first(tmp_path):
    store = RecordStore(tmp_path)
    trace = Trace(1)
    trace.add(1.0, 1, 1.0, True, 1.0)
    first = SearchResult(Allocation({}), 1.0, trace, {"merges": [{"node": [0]}]})
    first.write(store, "job")
    first.write(store, "job-2")
    SearchResult(Allocation({}), 0.0, Trace(1)).write(store, "job")
    assert {path.name for path in (tmp_path / "traces").iterdir()} == {
        "job-2.parquet",
        "job-2.merges.parquet",
    }
