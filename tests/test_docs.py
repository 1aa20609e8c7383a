"""What the documents show works as it stands there."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from mpqbench.cli.main import VERBS
from mpqbench.core.recipe import SLOTS, TEXTS, Recipe
from mpqbench.core.registry import discover, parameters
from mpqbench.lab.suite import plan
from mpqbench.lab.suites import load_suite
from mpqbench.records.store import RecordStore
from mpqbench.report.render import to_csv, to_markdown
from mpqbench.report.studies import searcher_table
from mpqbench.report.table import leaderboard

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "leaderboards", "benchmarks", "examples")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))])
LEADERBOARDS = sorted(path.parent for path in (ROOT / "leaderboards").glob("*/suite.yaml"))


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


@pytest.fixture
def run_tiny(tiny_folder, tmp_path, monkeypatch, mpqbench):
    """Runs a command of a document on a tiny model; gives its leaderboard."""
    monkeypatch.chdir(tmp_path)
    tiny = ["--model", tiny_folder, "--features", "none", "--images", 8, "--steps", 2]

    def run(command):
        program, *words = command.split()
        assert program == "mpqbench"
        assert mpqbench(*words, *tiny, "--micro-batch", 8, "--out", "out")[0] == 0
        return pd.read_csv(tmp_path / "out/leaderboard.csv").set_index(["method", "budget"])

    return run


def test_the_method_of_the_readme_runs_beside_gptq(run_tiny, tmp_path):
    text, *_ = blocks("README.md", "python")
    (tmp_path / "mine.py").write_text(text)
    console = "".join(blocks("README.md", "console"))
    (command,) = re.findall(r"^\$ (mpqbench .*--plugins mine.py)$", console, re.M)
    rows = run_tiny(command)
    assert rows.status["mine", "W3A3"] == rows.status["gptq", "W3A3"] == "done"
    assert rows.search_evals["mine", "W3A3"] > 0
    assert rows.bitops_linear["mine", "W3A3"] <= rows.bitops_linear["gptq", "W3A3"]
    assert rows.output_mse["mine", "W3A3"] != rows.output_mse["gptq", "W3A3"]


def test_the_plugin_page_runs(run_tiny, tmp_path):
    (tmp_path / "cheapest.py").write_text(blocks("docs/plugins.md", "python")[0])
    (tmp_path / "mine.yaml").write_text(blocks("docs/plugins.md", "yaml")[0])
    rows = run_tiny("mpqbench run mine.yaml --plugins cheapest.py")
    assert rows.status["rtn-cheapest", "W4A4"] == "done"
    assert rows.mean_weight_bits["rtn-cheapest", "W4A4"] == 3
    assert rows.status["rtn-cheapest", "W3A3"] == "infeasible"
    assert "cheapest allocation costs" in rows.reason["rtn-cheapest", "W3A3"]


@pytest.mark.parametrize(
    ("document", "block", "budget", "methods"),
    [
        ("docs/methods.md", 0, "W4A4", ["gptq-g32", "rotated", "searched", "static-8"]),
        ("docs/methods.md", 1, "W4A4", ["rtn-low-rank", "rtn-monarch", "gptq-sparse"]),
        ("docs/methods.md", 2, "W4A8+2.66MB", [
            "ilp", "evolved", "tss-clean", "tss-trajectory", "gptq-ilp", "bits-and-groups",
        ]),
        ("docs/tuning.md", 0, "W3A3", ["gptq-peft", "gptq-qat"]),
        ("docs/tuning.md", 1, "W3A3", ["gptq-corrected", "rtn-slowly"]),
    ],
)  # fmt: skip
def test_the_methods_of_a_page_are_planned_and_their_plugins_made(
    document, block, budget, methods, tmp_path
):
    path = tmp_path / "mine.yaml"
    path.write_text(f"budgets: [{budget}]\n{blocks(document, 'yaml')[block]}")
    registry = discover()
    jobs = plan(load_suite(str(path)), registry, "cpu")
    assert [job.recipe.name for job in jobs[1:]] == methods
    for job in jobs:
        for kind in SLOTS:
            registry.create(kind, getattr(job.recipe, kind))


def test_the_suite_of_the_readme_is_planned(tmp_path):
    path = tmp_path / "dit.yaml"
    (text,) = blocks("README.md", "yaml")
    path.write_text(text)
    jobs = plan(load_suite(str(path)), discover(), "cuda")
    assert [job.recipe.name for job in jobs] == ["full-precision", "rtn", "gptq", "treeq-2000"]


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


def test_commands_of_documents_are_verbs():
    for document in DOCUMENTS:
        named = set(re.findall(r"^\$ mpqbench (\w+)", document.read_text(), re.M))
        assert named <= set(VERBS), document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_are_there(document):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if ":" in target:
            continue
        path = document.parent / target if target else document
        assert path.exists(), f"{target} is not there"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
            names = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in names, f"{target} has no part #{anchor}"


@pytest.mark.parametrize("folder", LEADERBOARDS, ids=lambda f: f.name)
def test_committed_leaderboards_are_what_their_records_say(folder):
    records = RecordStore(folder).read_all()
    table = leaderboard(records)
    assert (folder / "leaderboard.csv").read_text() == to_csv(table)
    markdown = to_markdown(table, f"Leaderboard of {folder.name}")
    assert (folder / "leaderboard.md").read_text() == markdown
    jobs = plan(load_suite(str(folder / "suite.yaml")), discover(), "cpu")
    recipes = {_without_protocol(job.id): job.recipe for job in jobs}
    assert recipes.keys() == {_without_protocol(row["job"]) for row in table.rows}
    words = {"exclude": {*TEXTS} - {"name"}}
    for record in records:  # what a recipe had no word for when it was measured is at its default
        measured = Recipe.model_validate(record.recipe)
        planned = recipes[_without_protocol(record.job)]
        assert measured.model_dump(**words) == planned.model_dump(**words)


def _without_protocol(job):
    """The id of a job without its last part, which records of older versions lack."""
    return re.sub(r"__p[0-9a-f]{6}$", "", job)


@pytest.mark.parametrize("name", ["quick", "searchers"])
def test_committed_suites_are_those_that_a_user_runs(name):
    committed = load_suite(str(ROOT / "leaderboards" / name / "suite.yaml"))
    assert committed.methods == load_suite(name).methods


def test_the_committed_study_is_what_its_records_say():
    folder = ROOT / "leaderboards/searchers"
    regrets = [json.loads(path.read_text()) for path in sorted((folder / "regret").glob("*.json"))]
    table = searcher_table(RecordStore(folder).read_all(), regrets)
    assert (folder / "searchers.csv").read_text() == to_csv(table)
    assert (folder / "searchers.md").read_text() == to_markdown(table, "Searchers")
    assert len(regrets) == sum(row["seeds"] for row in table.rows if row["budget"] != "FP")
