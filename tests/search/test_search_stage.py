"""A search inside a run: scores from calibration, an allowance, a trace, quality elsewhere."""

import json

import numpy as np
import pandas as pd
import pytest

from mpqbench import api
from mpqbench.core.precision import Allocation
from mpqbench.core.progress import Quiet
from mpqbench.job.search_result import SearchResult
from mpqbench.records.store import RecordStore
from mpqbench.search.trace import Trace

SUITE = """
protocol: {base: smoke, images: 8, steps: 2, micro_batch: 8, calibration: 8, features: none}
budgets: [W4A4]
methods:
  - &drawn {base: rtn, name: drawn, searcher: {name: random, draws: 9}, choices: [W2A3, W4A4]}
  - {<<: *drawn, name: few, evaluations: 3}
  - {<<: *drawn, name: noisy, environment: {name: eng, noise: 0.5}}
  - {base: rtn, name: fisher, searcher: {name: random, draws: 2}, objective: fisher}
"""


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    """The results of the suite on a tiny model."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "suite.yaml").write_text(SUITE)
    settings = {"models": [str(tiny_folder)], "reporter": Quiet()}
    api.run(str(folder / "suite.yaml"), out=folder, **settings)
    return folder


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
    assert 0 < len(trace) <= 3
    whole = _trace(folder, "drawn")
    np.testing.assert_allclose(
        trace.score, whole.score[: len(trace)], rtol=1e-5
    )  # one seed, one sequence


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
