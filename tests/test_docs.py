"""What the documents show works as it stands there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import kendalltau

from mpqbench.cli.main import VERBS, main
from mpqbench.core.recipe import SLOTS, TEXTS, Recipe
from mpqbench.core.registry import discover, parameters
from mpqbench.lab.suite import plan
from mpqbench.lab.suites import load_suite
from mpqbench.records.store import RecordStore
from mpqbench.report.render import to_csv, to_markdown
from mpqbench.report.studies import searcher_table
from mpqbench.report.table import leaderboard

ROOT = Path(__file__).parents[1]


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def test_the_plugin_page_runs(tiny_folder, tmp_path, monkeypatch):
    (tmp_path / "cheapest.py").write_text(blocks("docs/plugins.md", "python")[0])
    (tmp_path / "mine.yaml").write_text(blocks("docs/plugins.md", "yaml")[0])
    monkeypatch.chdir(tmp_path)
    tiny = ["--model", str(tiny_folder), "--features", "none", "--images", "8", "--steps", "2"]
    command = ["mpqbench", "run", "mine.yaml", "--plugins", "cheapest.py", "--micro-batch", "8"]
    monkeypatch.setattr(sys, "argv", [*command, *tiny])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    rows = pd.read_csv(tmp_path / "runs/mine/leaderboard.csv").set_index(["method", "budget"])
    assert rows.status["rtn-cheapest", "W4A4"] == "done"
    assert rows.mean_weight_bits["rtn-cheapest", "W4A4"] == 3
    assert rows.status["rtn-cheapest", "W3A3"] == "infeasible"
    assert "cheapest allocation costs" in rows.reason["rtn-cheapest", "W3A3"]


def test_the_page_on_methods_says_what_the_recipes_say():
    page = (ROOT / "docs/methods.md").read_text()
    registry = discover()
    for entry in registry.entries("method"):
        recipe = entry.load()
        if entry.name != "full-precision" and entry.origin.startswith("package mpqbench "):
            texts = (f"`{recipe.name}`", recipe.source, recipe.keeps, recipe.leaves_out)
            assert all(texts)
            assert f"| {' | '.join(texts)} |" in page
    for kind in SLOTS:
        plural = f"{kind.capitalize()}{'es' if kind.endswith('ch') else 's'}"
        part = re.split(r"^##+ ", page.split(f" {plural}\n")[1], flags=re.M)[0]
        for entry in registry.entries(kind):
            if entry.origin.startswith("package mpqbench "):
                (row,) = [line for line in part.split("\n") if f"| `{entry.name}` |" in line]
                assert all(f"`{name}`" in row for name in parameters(entry.load()))


def test_the_methods_of_the_page_are_planned(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"budgets: [W4A4]\n{blocks('docs/methods.md', 'yaml')[0]}")
    jobs = plan(load_suite(str(path)), discover(), "cpu")
    assert [job.recipe.name for job in jobs[1:]] == ["gptq-g32", "rotated", "searched", "static-8"]


def test_the_branches_of_the_page_are_planned_and_made(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"budgets: [W4A4]\n{blocks('docs/methods.md', 'yaml')[1]}")
    registry = discover()
    jobs = plan(load_suite(str(path)), registry, "cpu")[1:]
    assert [job.recipe.branch.name for job in jobs] == ["low-rank", "monarch", "sparse"]
    assert [job.recipe.branch_in_budget for job in jobs] == [True, True, False]
    for job in jobs:
        assert registry.create("branch", job.recipe.branch).size(128, 512).bits in (8, 16)


def test_the_searches_of_the_page_are_planned_and_their_plugins_made(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"budgets: [W4A8+2.66MB]\n{blocks('docs/methods.md', 'yaml')[2]}")
    registry = discover()
    jobs = plan(load_suite(str(path)), registry, "cpu")
    assert len(jobs) == 7
    for job in jobs:
        for kind in SLOTS:
            registry.create(kind, getattr(job.recipe, kind))


def test_the_suite_of_the_readme_is_planned(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(blocks("README.md", "yaml")[0])
    jobs = plan(load_suite(str(path)), discover(), "cpu")
    assert len(jobs) == 2 * (1 + 2 * 2)
    assert jobs[0].is_reference


def test_the_readme_names_only_verbs_that_exist():
    text = "".join(blocks("README.md", "console"))
    named = set(re.findall(r"mpqbench (\w+)", text))
    assert named == set(VERBS)


LEADERBOARDS = sorted(path.parent for path in (ROOT / "leaderboards").glob("*/suite.yaml"))


@pytest.mark.parametrize("folder", LEADERBOARDS, ids=lambda f: f.name)
def test_committed_leaderboards_are_what_their_records_say(folder):
    records = RecordStore(folder).read_all()
    table = leaderboard(records)
    assert (folder / "leaderboard.csv").read_text() == to_csv(table)
    markdown = to_markdown(table, f"Leaderboard of {folder.name}")
    assert (folder / "leaderboard.md").read_text() == markdown
    jobs = plan(load_suite(str(folder / "suite.yaml")), discover(), "cpu")
    assert {job.id for job in jobs} == {row["job"] for row in table.rows}
    recipes = {job.id: job.recipe for job in jobs}
    words = {"exclude": {*TEXTS} - {"name"}}
    for record in records:  # what a recipe had no word for when it was measured is at its default
        measured = Recipe.model_validate(record.recipe)
        assert measured.model_dump(**words) == recipes[record.job].model_dump(**words)


def test_the_committed_study_of_searchers_is_what_its_records_say():
    folder = ROOT / "leaderboards/searchers"
    regrets = [json.loads(path.read_text()) for path in sorted((folder / "regret").glob("*.json"))]
    table = searcher_table(RecordStore(folder).read_all(), regrets)
    assert (folder / "searchers.csv").read_text() == to_csv(table)
    assert (folder / "searchers.md").read_text() == to_markdown(table, "Searchers")
    assert len(regrets) == sum(row["seeds"] for row in table.rows if row["budget"] != "FP")


def test_the_readme_quotes_the_study_of_searchers():
    table = pd.read_csv(ROOT / "leaderboards/searchers/searchers.csv").set_index("method")
    quoted = {
        "`uniform`": "uniform",
        "`ilp`: output errors of single groups, added up": "ilp",
        "the same errors with other layers quantized (`eng`, noise 1)": "ilp-eng",
        "`ilp+verify`": "ilp+verify",
        "`greedy`, scored anew after every move": "greedy",
        "`evolutionary` from optima of `ilp`": "evolutionary-ilp",
        "`evolutionary` from random allocations": "evolutionary",
        "**`tss`**": "tss",
        "`tss` in `eng`, noise 1": "tss-eng",
        "`tss` that does not keep the optimum of `ilp`": "tss-pure",
        "`closed-form`: a variance for every choice": "closed-form",
        "`autoquantize`: Fisher information": "autoquantize",
        "`hawq`: Hessian trace": "hawq",
        "`clado`: errors of pairs of groups": "clado",
        "`tpe`": "tpe",
        "`random`": "random",
    }
    assert set(quoted.values()) == set(table.index) - {"full-precision"}
    readme = (ROOT / "README.md").read_text()
    for text, method in quoted.items():
        cells = []
        for budget in ("W4A4", "W3A3"):
            row = table[table.budget == budget].loc[method]
            cells += [f"{1e3 * row.output_mse:.{2 if budget == 'W4A4' else 1}f}", f"{row.fd:.2f}"]
            delta = f"{row.fd_uniform_delta:+.2f} ±{row.fd_uniform_ci:.2f}"
            cells.append("" if method == "uniform" else delta)
        assert f"| {text} | {' | '.join(cells)} |".replace("|  |", "| |") in readme
    tss = table[table.budget == "W4A4"].loc["tss"]
    behind = f"{tss.fd_ilp_delta:.3f} ±{tss.fd_ilp_ci:.3f}"
    assert f"the integer program beats it by {behind}" in " ".join(readme.split())


def test_the_rates_of_treeq_peft_are_those_of_least_held_out_loss():
    folder = ROOT / "leaderboards/rates"
    suite = load_suite(str(folder / "suite.yaml"))
    assert suite.methods == load_suite("treeq-rates").methods
    rows = pd.read_csv(folder / "leaderboard.csv").set_index(["method", "budget"])
    tuners = {job.recipe.name: job.recipe.tuner.params for job in plan(suite, discover(), "cpu")}
    tuners = {name: params for name, params in tuners.items() if params}
    page = (ROOT / "docs/tuning.md").read_text()
    quoted = {name: [] for name in (*tuners, "untrained")}
    for budget in ("W4A4", "W3A3"):
        curves = {
            name: pd.read_parquet(path).held_out_loss
            for name in tuners
            for path in folder.glob(f"traces/*__{name}__{budget}__*")
        }
        best = min(tuners, key=lambda name: curves[name].min())
        chosen = discover().method("treeq-peft").tuner.params
        assert {key: tuners[best][key] for key in chosen} == chosen
        first = {float(curve.iloc[0]) for curve in curves.values()}
        assert len(curves) == 4
        assert len(first) == 1
        for name, cells in quoted.items():
            loss = curves[name].min() if name in curves else first.pop()
            cells += [f"{loss:.2f}", f"{rows.loc[(name, budget)].fd:.3f}"]
    for name, cells in quoted.items():
        rates = [tuners[name][key] for key in ("rate", "scale_rate")] if name in tuners else []
        text = [f"{rate:.0e}".replace("e-0", "e-") for rate in rates] or ["untrained", ""]
        assert f"| {' | '.join(text + cells)} |".replace("|  |", "| |") in page
    full = rows.loc[("full-precision", "FP")].fd
    assert f"full precision has an FD of {full:.3f}" in " ".join(page.split())


def test_the_readme_says_what_fd_follows_at_three_bits():
    records = RecordStore(ROOT / "leaderboards/searchers").read_all()
    own = [record for record in records if record.budget == "W3A3"]
    assert len(own) == 48
    fd = [record.scores["fd"].value for record in own]
    error = [record.scores["output_mse"].value for record in own]
    counts = [record.allocation.counts.items() for record in own]
    low = [sum(n for precision, n in each if precision.startswith("W2")) for each in counts]
    readme = " ".join((ROOT / "README.md").read_text().split())
    for what, values in (("the number of groups at W2", low), ("the held-out output error", error)):
        assert f"{what} (τ {kendalltau(values, fd).statistic:+.2f})" in readme


def test_the_readme_quotes_how_long_errors_persist():
    page, readme = ((ROOT / name).read_text() for name in ("docs/persistence.md", "README.md"))
    later = dict(re.findall(r"^\| (W\d+A\d+) \| \S+ \| (\S+) ±", page, re.MULTILINE))
    assert f"(correlation {later['W2A16']} at two bits)" in readme
    assert f"({later['W16A3']} at three)" in " ".join(readme.split())


def test_the_readme_quotes_the_study_of_proxies():
    table = pd.read_csv(ROOT / "leaderboards/proxies/proxies.csv").set_index(["part", "proxy"])
    quoted = {
        "output error of single groups, added up": "output-mse, sum",
        "the same, other layers fully quantized (`eng`, noise 1)": "output-mse in eng, sum",
        "output error of the whole allocation": "output-mse, joint",
        "latents three steps later, single groups added up": "trajectory-mse, sum",
        "distribution of latents at the end, whole allocation": "trajectory-frechet, joint",
        "HAWQ's Hessian trace": "hessian, sum",
        "signal-to-noise ratio in decibels": "layer-mse decibel, sum",
    }
    readme = (ROOT / "README.md").read_text()
    for text, proxy in quoted.items():
        row = table.loc[("all", proxy)]
        cells = [f"{row[f'tau_{t}']:+.2f} ±{row[f'tau_{t}_ci']:.2f}" for t in ("fd", "output_mse")]
        assert f"| {text} | {' | '.join(cells)} |" in readme
