"""Both studies as a user meets them, on a tiny model."""

import json

import pandas as pd
import pytest
from tiny_pipeline import save_tiny_pipeline

from mpqbench import api
from mpqbench.core.cache import Cache
from mpqbench.core.errors import BenchError
from mpqbench.lab.suites import load_suite

pytestmark = pytest.mark.usefixtures("undrawn")

SUITE = """
protocol: {base: smoke, images: 8, steps: 2, micro_batch: 8, calibration: 8, features: none}
budgets: [W4A3]
seeds: [0, 1]
methods:
  - {base: rtn, name: uniform}
  - {base: rtn, name: ilp, searcher: ilp, choices: [W3A3, W4A3, W5A4]}
  - {base: rtn, name: chance, searcher: {name: random, draws: 1}, choices: [W3A3, W4A3, W5A4]}
  - {base: rtn, name: all, searcher: {name: tss, keep: 4096}, choices: [W3A3, W4A3, W5A4]}
"""

PROXIES = """
protocol: {base: smoke, images: 4, steps: 10, calibration: 10, features: none}
methods: [rtn]
budgets: [W3A3]
"""

FEW = """
from mpqbench.core.recipe import Recipe
FEW = Recipe(name="few", choices=("W2A3", "W3A3", "W3A4", "W4A4", "W5A5"))
PLUGINS = {"method": {"few": FEW}}
"""


@pytest.fixture(scope="module")
def one_block(tmp_path_factory):
    """A pipeline whose transformer has four groups, which are also the truncated problem."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("one-block") / "tiny-dit", num_layers=1)


@pytest.fixture
def searchers(mpqbench, one_block, tmp_path, monkeypatch):
    monkeypatch.setattr("mpqbench.lab.study.searchers.BLOCKS", 1)
    (tmp_path / "mine.yaml").write_text(SUITE)

    def call(*arguments):
        fixed = ["--model", one_block, "--out", tmp_path / "out"]
        return mpqbench("study", "searchers", tmp_path / "mine.yaml", *fixed, *arguments)

    return call


def test_searchers_are_compared_and_the_exhaustive_one_has_no_regret(searchers, tmp_path):
    text = SUITE.replace("seeds: [0, 1]", "seeds: [0]")
    (tmp_path / "mine.yaml").write_text(f"{text}realizations: 2\n")
    code, out, _ = searchers()
    assert code == 0
    table = pd.read_csv(tmp_path / "out/searchers.csv").set_index("method")
    assert list(table.seeds) == [1] * 5
    assert (table.regret.drop("full-precision") >= -1e-12).all()  # and none is missing
    assert table.regret["all"] == pytest.approx(0, abs=1e-12)
    assert 0 < table.regret["ilp"] < table.regret["uniform"]
    assert table.regret["chance"] <= table.regret["uniform"]  # which every searcher scores first
    assert table.search_evals["uniform"] == 0 < table.search_evals["ilp"]
    assert table.output_mse["uniform"] > 0
    again, out, _ = searchers()
    assert again == 0
    assert out.count("done before") == 9
    assert "regret of" not in out


def test_an_allowance_bounds_all_and_a_table_is_computed_once(searchers, tmp_path):
    few = ("--evaluations", 16, "--seeds", 0, "--method", "all", "--method", "ilp")
    assert searchers(*few)[0] == 0
    table = pd.read_csv(tmp_path / "out/searchers.csv").set_index("method")
    assert set(table.index) == {"full-precision", "ilp", "all"}
    assert table.search_evals.max() <= 16
    for path in (tmp_path / "out/records").glob("*W4A3*.json"):
        assert json.loads(path.read_text())["recipe"]["evaluations"] == 16
    cache = Cache(tmp_path / "out/cache/tables")
    tables = list(cache.folder.glob("*.pt"))
    before = {path: path.stat().st_mtime_ns for path in tables}
    record = next((tmp_path / "out/records").glob("*__ilp__*"))
    first = json.loads(record.read_text())
    record.unlink()
    searchers(*few)
    second = json.loads(record.read_text())
    assert {path: path.stat().st_mtime_ns for path in tables} == before
    assert second["search_evals"] == first["search_evals"] > 0
    table_seconds = min(cache.read(path.stem)["seconds"] for path in tables)
    assert second["seconds"]["search"] >= table_seconds


PICKY = """
from mpqbench.contracts import Searcher, plugin
from mpqbench.core.precision import Allocation

@plugin
class Picky(Searcher):
    def search(self, problem):
        if len(problem.choices(problem.groups[0])) > 2:
            raise KeyError("too many for me")
        return Allocation({g: problem.choices(g)[0] for g in problem.groups})

PLUGINS = {"searcher": {"picky": Picky}}
"""


def test_a_searcher_that_fails_on_the_truncated_problem_costs_no_other_row(searchers, tmp_path):
    (tmp_path / "picky.py").write_text(PICKY)
    line = "  - {base: rtn, name: picky, searcher: picky, choices: [W3A3, W4A3]}\n"
    (tmp_path / "mine.yaml").write_text(SUITE.replace("seeds: [0, 1]", "seeds: [0]") + line)
    given = ("--method", "picky", "--method", "uniform", "--plugins", tmp_path / "picky.py")
    code, out, _ = searchers(*given)
    assert code == 1
    assert "regret of picky W4A3 seed 0: KeyError" in out
    table = pd.read_csv(tmp_path / "out/searchers.csv").set_index("method")
    assert table.status["picky"] == "done"
    assert table.regret.isna()["picky"]
    assert table.regret["uniform"] >= 0


def test_proxies_are_ranked_by_what_was_measured(mpqbench, one_block, tmp_path, monkeypatch):
    monkeypatch.setattr("mpqbench.lab.study.proxies.MORE_ENVIRONMENTS", ())
    out, short = tmp_path / "out", tmp_path / "short.yaml"
    monkeypatch.setattr("mpqbench.lab.suites.built_in_suites", lambda: {"proxies": short})
    short.write_text(PROXIES)
    (tmp_path / "few.py").write_text(FEW)
    arguments = ["--model", one_block, "--method", "few", "--plugins", tmp_path / "few.py"]
    code, _, _ = mpqbench("study", "proxies", *arguments, "--allocations", 20, "--out", out)
    assert code == 0
    table = pd.read_csv(out / "proxies.csv").set_index(["proxy", "part"])
    raw = pd.read_csv(out / "scores.csv")
    assert len(raw) == 20
    whole = table.loc[("output-mse, joint", "all")]
    tau = raw["output-mse, joint"].corr(raw.output_mse, method="kendall")
    assert whole.tau_output_mse == pytest.approx(tau, abs=1e-5)
    assert tau > 0.5  # both are output errors, on different inputs
    assert "tau_fd" not in table.columns
    assert (out / "figures/proxies.pdf").exists()
    again = load_suite(str(out / "suite.yaml"))
    assert [method["name"] for method in again.methods] == list(raw.method)
    assert "τ with held-out MSE, better half" in (out / "proxies.md").read_text()


def test_realizations_have_both_deviations_and_the_files_say_them(mpqbench, tmp_path):
    suite = "protocol: {base: smoke, images: 20, steps: 2, calibration: 8, features: fashion}\n"
    suite += "methods: [quarot]\n"
    (tmp_path / "mine.yaml").write_text(f"{suite}budgets: [W4A3]\nrealizations: 2\n")
    model = save_tiny_pipeline(tmp_path / "tiny", sample_size=16)
    command = ("study", "realizations", tmp_path / "mine.yaml", "--model", model)
    command += ("--out", tmp_path / "out")
    code, out, _ = mpqbench(*command)
    assert code == 0
    records = [json.loads(p.read_text()) for p in (tmp_path / "out/records").glob("*quarot*")]
    first, second = (record["scores"]["fd"]["value"] for record in records)
    (row,) = pd.read_csv(tmp_path / "out/realizations.csv").to_dict("records")
    assert row["sd_between"] == pytest.approx(abs(first - second) / 2**0.5)
    assert row["realizations"] == 2
    for name in ("realizations.md", "realizations.tex", "figures/realizations.pdf"):
        assert f"{tmp_path / 'out' / name}" in out.replace("\n", "")
    few = ("--images", 10, "--out", tmp_path / "few")
    code, _, err = mpqbench(*command[:5], *few)
    assert code == 2
    assert "compares FD of 20 images or more: use --images" in err
    assert not (tmp_path / "few/records").exists()


@pytest.mark.slow
def test_two_processes_share_the_jobs_of_a_study_and_change_no_record(tmp_path):
    model, suite = save_tiny_pipeline(tmp_path / "tiny", sample_size=16), tmp_path / "mine.yaml"
    suite.write_text("protocol: {base: smoke, images: 20, steps: 2, calibration: 8, "
                     "features: fashion}\nmethods: [rtn, gptq]\nbudgets: [W4A3]\n")  # fmt: skip
    given = {"suite": str(suite), "realizations": 2, "models": [str(model)]}
    alone = api.study("realizations", **given, out=tmp_path / "alone")
    shared = api.study("realizations", **given, out=tmp_path / "shared", workers=2)
    found = [{r.job: (r.fingerprint, r.scores, r.costs) for r in each} for each in (alone, shared)]
    assert found[0] == found[1]
    pd.testing.assert_frame_equal(alone.tables["realizations"], shared.tables["realizations"])


def test_a_study_without_jobs_takes_no_workers():
    with pytest.raises(BenchError, match="unknown setting of study branches 'workers'"):
        api.study("branches", workers=2)
