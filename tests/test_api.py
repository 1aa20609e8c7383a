"""The Python calls: what they return, and that importing them takes no time."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mpqbench
from mpqbench.core.errors import BenchError
from mpqbench.core.progress import Reporter
from mpqbench.records.store import RecordStore

ROOT = Path(__file__).parents[1]
QUICK = ROOT / "leaderboards/quick"
FEW = {"images": 16, "steps": 2, "micro_batch": 16, "reporter": Reporter()}
TINY = {"images": 8, "steps": 1, "micro_batch": 8, "calibration": 4, "features": "none"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The smoke suite at one budget, with few images."""
    out = tmp_path_factory.mktemp("api") / "out"
    return mpqbench.run("smoke", budgets=["W4A4"], out=out, **FEW)


def test_importing_takes_no_time_and_no_torch():
    code = (
        "import sys, time; start = time.perf_counter(); import mpqbench; "
        "seconds = time.perf_counter() - start; assert seconds < 0.2, seconds; "
        "loaded = {'torch', 'pandas', 'numpy', 'matplotlib', 'pydantic'} & {*sys.modules}; "
        "assert not loaded, loaded; assert 'run' in dir(mpqbench); "
        "mpqbench.table('leaderboards/quick', 'latex'); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_of_the_api_is_there_and_others_are_not():
    assert {name for name in mpqbench.api.__all__ if getattr(mpqbench, name).__doc__} == {
        *mpqbench.api.__all__
    }
    for module in (mpqbench, mpqbench.api):
        with pytest.raises(AttributeError, match="rum"):
            module.rum  # noqa: B018


def test_documents_use_names_that_are_there():
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    blocks = re.findall(r"```python\n(.*?)```", "".join(d.read_text() for d in documents), re.S)
    called = set(re.findall(r"mpqbench\.(\w+)\(", "".join(blocks)))
    assert called <= {*mpqbench.api.__all__}
    assert {"run", "table", "figure", "quantize", "load_records"} <= called


def test_a_run_gives_its_records_and_its_tables(results):
    assert [(r.method, r.status) for r in results] == [("full-precision", "done"), ("rtn", "done")]
    assert not results.has_failed
    assert [r.n_images for r in results.records] == [16, 16]
    stored = RecordStore(results.folder).read_all()
    assert sorted(r.job for r in stored) == results.frame["job"].tolist()
    fd = {record.method: record.scores["fd"].value for record in results}
    board = results.table().set_index("method")
    assert board.fd_delta["rtn"] == pytest.approx(fd["rtn"] - fd["full-precision"])
    assert "| rtn" in results.table("markdown", title="Mine")


def test_results_hold_the_jobs_of_their_run_alone(results, tmp_path):
    other = mpqbench.run("smoke", budgets=["W8A8"], out=results.folder, **FEW)
    assert other.frame["budget"].tolist() == ["FP", "W8A8"]
    assert set(mpqbench.load_records(results.folder)["budget"]) >= {"W4A4", "W8A8"}
    assert results.frame["budget"].tolist() == ["FP", "W4A4"]


@pytest.mark.usefixtures("undrawn")
def test_results_write_what_the_command_writes(results):
    names = {path.name for path in results.write()}
    assert {"leaderboard.csv", "leaderboard.md"} <= names


def test_the_columns_of_records_are_those_of_the_page():
    frame = mpqbench.load_records(QUICK)
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    part = page.split("## Columns of the records\n")[1].split("\n## ")[0]
    listed = [
        name
        for row in re.findall(r"^\| (`.*?) \|", part, re.M)
        for name in re.findall(r"`([^`]+)`", row)
    ]
    assert listed == list(frame.columns)


def test_rows_are_chosen_in_pandas_and_by_a_selection():
    frame = mpqbench.load_records(QUICK)
    chosen = frame[frame["budget"].isin(["FP", "W4A4"])]
    by_selection = mpqbench.table(QUICK, budgets=["W4A4"])
    pd.testing.assert_frame_equal(mpqbench.table(chosen), by_selection)
    assert mpqbench.table(QUICK, "csv") == (QUICK / "leaderboard.csv").read_text()


def test_a_figure_is_a_matplotlib_figure(tmp_path):
    drawn = mpqbench.figure("tradeoff", QUICK, costs=["bitops"])
    drawn.savefig(tmp_path / "tradeoff.pdf")
    assert (tmp_path / "tradeoff.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mpqbench.table(QUICK, "word"), "unknown kind of table 'word'"),
        (lambda: mpqbench.table(QUICK, name="summary"), "a summary needs several"),
        (lambda: mpqbench.table(QUICK, name="leader"), "did you mean 'leaderboard'"),
        (lambda: mpqbench.table(QUICK, budget=["W4A4"]), "did you mean 'budgets'"),
        (lambda: mpqbench.table(QUICK, budgets=["W5A5"]), "unknown budget 'W5A5'"),
        (lambda: mpqbench.table(pd.DataFrame({"job": ["a"]})), "no column 'folder'"),
        (lambda: mpqbench.table(mpqbench.load_records(QUICK)[:0]), "no rows"),
        (lambda: mpqbench.figure("trade", QUICK), "did you mean 'tradeoff'"),
        (lambda: mpqbench.figure("tradeoff", QUICK, part="b"), "unknown part of figure"),
        (lambda: mpqbench.figure("merge-tree", QUICK), "allow no figure 'merge-tree'"),
        (lambda: mpqbench.load_records(ROOT / "docs"), "has no records"),
        (lambda: mpqbench.study("searcher"), "did you mean 'searchers'"),
        (lambda: mpqbench.study("branches", rank=[2]), "did you mean 'ranks'"),
        (lambda: mpqbench.study("proxies", allocations=5), "needs 20 allocations, not 5"),
        (lambda: mpqbench.ablate("gptq", protocol="quik"), "did you mean 'quick'"),
        (lambda: mpqbench.study("realizations", realizations=1), "2 or more"),
        (lambda: mpqbench.score("x", "embedded", feature="a"), "did you mean 'features'"),
        (lambda: mpqbench.quantize("fashion-dit", calibrate=4), "did you mean 'calibration'"),
        (lambda: mpqbench.quantize("fashion-dit", "rtm"), "did you mean 'rtn'"),
        (lambda: mpqbench.quantize("fashion-dot"), "fashion-dot"),
        (lambda: mpqbench.load_model("fashion-dit", "cuda:9"), "cuda:9"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_and_leave_nothing(call, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match=re.escape(sentence)) as error:
        call()
    assert "\n" not in str(error.value)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_an_ablation_gives_cells_and_effects(tiny_folder, tmp_path):
    settings = {"models": [str(tiny_folder)], "budgets": ["W3A3"], "out": tmp_path / "out"}
    levels = {"damping": {"low": {}, "high": {"rounding.damping": 0.5}}}
    found = mpqbench.ablate("gptq", levels, reporter=Reporter(), **settings, **TINY)
    assert found.tables["cells"]["damping"].tolist() == ["low", "high"]
    errors = {r.method: r.scores["output_mse"].value for r in found if r.budget == "W3A3"}
    effects = found.tables["effects"].query("kind == 'contrast' and response == 'output_mse'")
    (ratio,) = effects["effect"]
    low, high = (errors[name] for name in found.tables["cells"]["method"])
    assert ratio == pytest.approx(high / low)
    assert {"ablation.csv", "effects.csv"} <= {path.name for path in found.write()}


def test_a_quantized_model_costs_what_the_record_of_the_job_says(results):
    model = mpqbench.load_model("fashion-dit")
    before = {name: part.clone() for name, part in model.transformer.state_dict().items()}
    settings = {"protocol": "smoke", "steps": 2, "micro_batch": 16}
    quantized = mpqbench.quantize(model, "rtn", "W4A4", **settings)
    assert quantized.costs == results[1].costs
    assert quantized.cost.bitops == results[1].costs.bitops
    after = model.transformer.state_dict()
    assert before.keys() == after.keys()
    assert all(after[name].equal(part) for name, part in before.items())
    assert quantized.model.transformer is not model.transformer
    with np.load(next((results.folder / "samples" / results[1].job).glob("*.npz"))) as shard:
        kept = shard["arr_0"]
    assert np.array_equal(quantized.sample(16), kept)
    full = mpqbench.quantize(model, "full-precision", "FP", **settings)
    assert not np.array_equal(full.sample(16), kept)


def test_a_quantized_model_is_trained_and_corrected(tiny_folder):
    recipe = {"name": "own", "rounding": "nearest", "correction": "unbiased",
              "tuner": {"name": "peft", "adapter": "lora", "trajectories": 8, "held_out": 4,
                        "steps": 2, "every": 1}}  # fmt: skip
    few = TINY | {"steps": 4}
    quantized = mpqbench.quantize(str(tiny_folder), recipe, "W4A4", **few)
    assert len(quantized.corrections) == 4
    assert quantized.cost.overhead["correction"] > 0
    assert quantized.sample(8).shape == (8, 16, 16, 1)


@pytest.mark.parametrize("module", ["jobs", "results", "models", "studies", "scores"])
def test_the_examples_of_the_docstrings_are_right(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaderboards").symlink_to(ROOT / "leaderboards")
    result = doctest.testmod(importlib.import_module(f"mpqbench.api.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
