"""Records are valid as long as the code that can change them is the same."""

import sys

import pytest

from mpqbench.api.jobs import prepare, run
from mpqbench.core import sources
from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import Recipe
from mpqbench.core.registry import discover
from mpqbench.core.sources import PACKAGE
from mpqbench.job.fingerprints import samples_fingerprint
from mpqbench.lab.suite import look_up
from mpqbench.records.store import RecordStore

SHORT = {"images": 4, "steps": 1, "micro_batch": 4, "calibration": 4, "features": "none"}


@pytest.fixture(scope="module")
def settings(tiny_folder, tmp_path_factory):
    """Settings of a small run that has been done."""
    out = tmp_path_factory.mktemp("fingerprints") / "out"
    settings = {"models": [str(tiny_folder)], "budgets": ["W4A4"], "out": out, **SHORT}
    assert [record.status for record in run("smoke", **settings)] == ["done", "done"]
    assert [record.method for record in RecordStore(out).read_all()] == ["full-precision", "rtn"]
    return settings


@pytest.fixture
def edit(monkeypatch):
    """Makes a file read as if it had been edited."""
    plain = sources.read_digest

    def call(file):
        path = file if file.is_absolute() else PACKAGE / file
        assert path.is_file()
        monkeypatch.setattr(
            sources, "read_digest", lambda own: plain(own) + ("edited" if own == path else "")
        )
        sources.harness_digest.cache_clear()

    yield call
    monkeypatch.undo()
    sources.harness_digest.cache_clear()


def planned(settings):
    prepared = prepare("smoke", **settings)
    return [look_up(job, prepared.session)[1] for job in prepared.jobs]


HARNESS = [
    "contracts/layers.py", "core/precision.py", "cost/count.py", "dit/schedule.py", "job/run.py",
    "metrics/frechet.py", "quant/affine.py", "records/schema.py", "search/engine.py",
    "tuning/loop.py",
]  # fmt: skip


@pytest.mark.parametrize("file", HARNESS)
def test_a_job_is_to_run_again_when_the_harness_is_edited(settings, edit, file):
    assert planned(settings) == [True, True]
    edit(PACKAGE / file)
    assert planned(settings) == [False, False]


@pytest.mark.parametrize("file", ["report/table.py", "cli/run.py", "lab/suite.py", "api/jobs.py"])
def test_a_job_stays_done_when_what_reads_records_is_edited(settings, edit, file):
    edit(PACKAGE / file)
    assert planned(settings) == [True, True]


def test_images_and_calibration_outlive_edits_of_what_comes_after_them(settings, edit):
    def digests():
        prepared = prepare("smoke", **settings)
        job, resources = prepared.jobs[1], prepared.session.resources
        return samples_fingerprint(job, resources), resources.recordings(job).fingerprint

    before = digests()
    edit(PACKAGE / "metrics/frechet.py")
    assert digests() == before
    edit(PACKAGE / "quant/affine.py")
    assert digests()[0] != before[0]
    assert digests()[1] == before[1]
    edit(PACKAGE / "dit/statistics.py")
    assert digests()[1] != before[1]


@pytest.mark.parametrize(
    ("file", "changed"),
    [("scaling", {"smooth", "awq"}), ("smooth", {"smooth"}), ("hadamard", {"hadamard"})],
)
def test_a_plugin_depends_on_the_files_that_it_loads(edit, file, changed):
    names = ("none", "smooth", "awq", "hadamard")
    recipes = [Recipe(name=name, transform=name) for name in names]

    def digests():
        known = discover()
        return [known.source_digest(recipe) for recipe in recipes]

    before = digests()
    module = sys.modules[discover().entry("transform", "smooth").load().__module__]
    edit(sources.Path(module.__file__).resolve().with_name(f"{file}.py"))
    pairs = zip(names, before, digests(), strict=True)
    assert {name for name, old, new in pairs if old != new} == changed


STRANGER = '''
from mpqbench.contracts import Searcher, plugin
from mpqbench.core.precision import Allocation


@plugin
class Lowest(Searcher):
    """Every group at its cheapest choice."""

    def search(self, problem):
        from stranger_tools.cheap import first

        return Allocation({g: first(problem, g) for g in problem.groups})


PLUGINS = {"searcher": {"lowest": Lowest}}
'''


def test_a_strangers_plugin_depends_on_every_file_of_its_project(tmp_path, monkeypatch):
    package, plugin = tmp_path / "stranger_tools", tmp_path / "stranger.py"
    package.mkdir()
    files = {
        plugin: STRANGER,
        package / "__init__.py": "",
        package / "cheap.py": "from .deeper import at\n\n\ndef first(p, g):\n    return p[at]\n",
        package / "deeper.py": "at = 0\n",
        package / "unused.py": "at = 1\n",
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = Recipe(name="low", searcher="lowest")
    before = discover([plugin]).source_digest(recipe)
    assert discover([plugin]).source_digest(recipe) == before
    for path, text in files.items():
        path.write_text(text + "# edited\n", encoding="utf-8")
        unchanged = discover([plugin]).source_digest(recipe) == before
        assert unchanged == (path.name == "unused.py")
        path.write_text(text, encoding="utf-8")


def test_a_setting_that_is_none_is_one_sentence(settings):
    with pytest.raises(BenchError, match="unknown key 'imagse'; did you mean 'images'"):
        prepare("smoke", imagse=3)
