"""The files that a report makes of the searches of a run."""

import pytest
from click.testing import CliRunner
from synthetic_search import add_plain, add_search, add_searches

from mpqbench.cli.report import report
from mpqbench.core.errors import BenchError
from mpqbench.methods.treeq.tss import TSS
from mpqbench.records.runs import read_runs
from mpqbench.report.write import tables_of_runs, write_tables

JOB = "fashion-dit__tss__W3A3__s0__m1"


@pytest.fixture
def searches(store, record):
    return add_searches(store, record)


def written(store, folder, merges=(), scans=()):
    runs = read_runs([store.folder])
    paths = write_tables(tables_of_runs(runs), runs, folder, merges=merges, scans=scans)
    return [path for path in paths if path.parent.name == "search"]


@pytest.fixture
def quick_save(monkeypatch):
    """Saves names alone: what a picture costs is not what these tests are about."""

    def touch(figure, stem):
        path = stem.parent / f"{stem.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return (path,)

    monkeypatch.setattr("mpqbench.report.drawing.save", touch)


def test_everything_that_the_files_allow_is_written(store, searches, tmp_path, quick_save):
    paths = written(store, tmp_path / "out")
    stems = [path.name.removesuffix(".png") for path in paths]
    merged = [f"{kind}-fashion-dit__{name}__W3A3__s0__m1" for kind in ("merge-tree", "pareto-drop")
              for name in ("tss", "tss-2", "tss-3")]  # fmt: skip
    assert stems == [
        "anytime-fashion-dit-W3A3", "allocations-fashion-dit-W3A3",
        "sensitivity-fashion-dit-W3A3-ilp", *merged, "scan-searcher.keep-fashion-dit-W3A3",
    ]  # fmt: skip


def test_a_run_without_searches_has_none(store, record, tmp_path):
    add_plain(store, record("rtn", "W3A3", 9.0), 0.5)
    assert written(store, tmp_path / "out") == []
    with pytest.raises(BenchError, match="no search of this run left merges"):
        written(store, tmp_path / "out", merges=["job:1"])


def test_what_is_asked_for_and_not_there_is_one_sentence(store, searches, tmp_path):
    asked = {
        "tss": "'tss' is not JOB:NODE",
        f"{JOB}:x": "is not JOB:NODE",
        f"{JOB}:31": f"job '{JOB}': there is no node 31: give one from 0 to 30",
        f"{JOB[:-1]}:1": f"unknown job with merges .* did you mean '{JOB}'",
    }
    for merge, sentence in asked.items():
        with pytest.raises(BenchError, match=sentence):
            written(store, tmp_path / "out", merges=[merge])
    with pytest.raises(BenchError, match=r"did you mean 'searcher.keep'"):
        written(store, tmp_path / "out", scans=["searcher.kep"])
    assert not (tmp_path / "out").exists()


def test_the_command_draws_what_is_asked_for(store, record, quick_save):
    for name, keep in (("tss", 4), ("tss-2", 2)):
        slot = {"name": "tss", "keep": keep}
        add_search(store, record(name, "W3A3", 7.0), TSS(keep=keep), slot, held_out=0.1, groups=4)
    options = ["--merge", f"{JOB}:5", "--scan", "searcher.keep"]
    result = CliRunner().invoke(report, [str(store.folder), *options])
    assert result.exit_code == 0, result.output
    folder = store.folder / "figures" / "search"
    assert (folder / f"pareto-drop-{JOB}-node5.png").is_file()
    assert (folder / "scan-searcher.keep-fashion-dit-W3A3.png").is_file()
    assert str(folder / "anytime-fashion-dit-W3A3.png") in result.output.replace("\n", "")
