"""The named searches run, each with the plugins that it is about."""

import numpy as np
import pandas as pd
import pytest

from mpqbench.api import run
from mpqbench.baselines.objectives.decoupled import Decoupled
from mpqbench.baselines.objectives.fisher import Fisher
from mpqbench.baselines.objectives.layer_mse import LayerError
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Allocation
from mpqbench.core.progress import Reporter
from mpqbench.job.search_stage import SearchResult
from mpqbench.records.store import RecordStore
from mpqbench.report.table import leaderboard

ADDITIVE = ("hawq", "autoquantize", "sqnr")
JOINT = ("mixdq", "clado", "treeq-search")
# A tiny model has 8 groups of widths 16 and 64, and full choices would take minutes.
SUITE = """
protocol: {base: smoke, images: 4, steps: 2, micro_batch: 8, calibration: 8, features: none}
budgets: [W4A4]
methods:
  - hawq
  - {base: autoquantize, name: autoquantize, choices: &few [W2A3, W3A4, W4A4, W5A5]}
  - {base: sqnr, name: sqnr, choices: *few}
  - {base: mixdq, name: mixdq, choices: *few}
  - {base: clado, name: clado, searcher: {name: clado, reach: 2}}
  - {base: treeq-search, name: treeq-search, searcher: {name: tss, keep: 2}, choices: *few}
  - {base: treeq-search, name: steps, searcher: {name: random, draws: 4}, choices: *few,
     objective: {name: trajectory-mse, steps: 2}}
  - &drawn {base: rtn, name: drawn, searcher: {name: random, draws: 9}, choices: [W2A3, W4A4]}
  - {<<: *drawn, name: few, evaluations: 3}
  - {base: q-dit-search, name: q-dit-search, choices: [W4A4g16, W4A4g8, W4A4g4], evaluations: 12,
     searcher: {name: evolutionary, population: 6}}
"""


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    """The results of the suite on a tiny model."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "suite.yaml").write_text(SUITE)
    models = [str(tiny_folder)]
    run(str(folder / "suite.yaml"), models=models, out=folder, batch_size=8, reporter=Reporter())
    return folder


def _record(folder, method):
    (found,) = [r for r in RecordStore(folder).read_all() if r.method == method]
    return found


@pytest.mark.parametrize("method", [*ADDITIVE, *JOINT, "steps", "q-dit-search"])
def test_each_ends_within_its_budget(folder, method):
    record = _record(folder, method)
    assert record.status == "done", record.reason
    assert record.costs.satisfied
    assert record.scores["output_mse"].value > 0
    scored = list((folder / "traces").glob(f"*__{method}__*__s0__p??????.parquet"))
    assert len(scored) == (0 if method in ADDITIVE else 1)


def test_a_record_of_group_sizes_names_them(folder):
    record = _record(folder, "q-dit-search")
    assert set(record.allocation.counts) <= {"W4A4g16", "W4A4g8", "W4A4g4"}
    assert record.allocation.mean_weight_bits == 4
    assert 0 < record.search_evals <= 12
    table = leaderboard(RecordStore(folder).read_all())
    (row,) = [row for row in table.rows if row["method"] == "q-dit-search"]
    assert row["bytes"] == record.costs.bytes


def test_steps_are_paid_for(folder):
    # Four draws and three uniform allocations, two steps each.
    assert 7 < _record(folder, "steps").search_evals <= 14


class _Network:
    """A table of ours stands for the network: the two metrics are told apart by it."""

    groups = ("blocks.0.attn.qkv", "blocks.0.mlp.up", "blocks.1.attn.out")


def test_each_part_has_its_own_metric(monkeypatch):
    numbers = dict(zip(_Network.groups, np.arange(6.0).reshape(3, 2), strict=True))
    monkeypatch.setattr(Fisher, "table", lambda self, network: numbers)
    monkeypatch.setattr(
        LayerError, "table", lambda self, _: {g: (self.scale, -s) for g, s in numbers.items()}
    )
    table = Decoupled().table(_Network())
    assert list(table) == list(_Network.groups)
    assert table["blocks.0.attn.qkv"].tolist() == [0, 1]
    assert table["blocks.1.attn.out"].tolist() == [4, 5]
    scale, scores = table["blocks.0.mlp.up"]
    assert scale == "decibel"
    assert scores.tolist() == [-2, -3]


def test_mistakes_in_the_parts():
    with pytest.raises(BenchError, match=r"no group is of content: attn\.kqv"):
        Decoupled(content=["attn.kqv"]).table(_Network())


def _trace(folder, method):
    (path,) = (folder / "traces").glob(f"*__{method}__*__s0__p??????.parquet")
    return pd.read_parquet(path)


def test_the_best_of_the_trace_is_what_was_quantized(folder):
    record, trace = _record(folder, "drawn"), _trace(folder, "drawn")
    assert record.status == "done"
    assert record.search_evals == pytest.approx(trace.forwards.iloc[-1])
    best = trace[trace.fits & (trace.score == trace.best.iloc[-1])].iloc[0]
    assert best.cost == record.costs.bitops_linear
    assert record.costs.satisfied
    assert record.scores["output_mse"].value > 0


def test_an_allowance_of_a_recipe_is_hard(folder):
    record, trace = _record(folder, "few"), _trace(folder, "few")
    assert record.status == "done"
    assert record.search_evals <= 3
    assert 0 < len(trace) <= 3
    whole = _trace(folder, "drawn")
    np.testing.assert_allclose(
        trace.score, whole.score[: len(trace)], rtol=1e-5
    )  # one seed, one sequence


def test_a_method_without_a_search_leaves_no_trace(folder):
    assert not list((folder / "traces").glob("*full-precision*"))


def test_a_job_run_again_with_another_search_leaves_no_table_of_the_first(tmp_path):
    store = RecordStore(tmp_path)
    tables = {"": pd.DataFrame({"score": [1.0]}), "merges": pd.DataFrame({"node": [0]})}
    first = SearchResult(Allocation({}), 1.0, tables)
    first.write(store, "job")
    first.write(store, "job-2")
    SearchResult(Allocation({}), 0.0, {}).write(store, "job")
    assert {path.name for path in (tmp_path / "traces").iterdir()} == {
        "job-2.parquet",
        "job-2.merges.parquet",
    }
