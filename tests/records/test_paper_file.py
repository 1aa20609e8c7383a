"""The file of a paper: what it asks for, and one sentence for each mistake."""

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.records.paper_file import read_paper


@pytest.fixture
def paper(tmp_path):
    """Writer of the file of a paper; returns its path."""

    def write(text):
        path = tmp_path / "paper.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_table_goes_before_the_file_and_an_option_before_both(paper, tmp_path):
    path = paper(
        "runs: [run, /far/away]\n"
        "methods: [rtn, treeq]\n"
        "labels: {treeq: TreeQ}\n"
        "tables:\n"
        "  main: {methods: [treeq], labels: {rtn: RTN}, intervals: false}\n"
        "  plain:\n"
        "figures:\n"
        "  tradeoff: {width: text}\n"
    )
    found = read_paper(path)
    assert found.runs == (tmp_path / "run", tmp_path.__class__("/far/away"))
    assert found.selection.methods == ("rtn", "treeq")
    assert found.tables["main"].methods == ("treeq",)
    assert found.tables["main"].labels == {"treeq": "TreeQ", "rtn": "RTN"}
    assert (found.tables["main"].intervals, found.tables["plain"].intervals) == (False, True)
    assert found.figures["tradeoff"].inches == 6.95
    changed = read_paper(path, {"methods": ("gptq",), "labels": {"treeq": "ours"}})
    assert changed.tables["main"].methods == changed.selection.methods == ("gptq",)
    assert changed.tables["main"].labels == {"treeq": "ours", "rtn": "RTN"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("methds: [a]", "unknown key 'methds'; did you mean 'methods'?"),
        ("tables: {main: {pivot: seed}}", "table 'main': pivot must be 'budget', 'format'"),
        ("tables: {main: {with: 3}}", "table 'main': unknown key 'with'"),
        ("tables: {a/b: {}}", "no safe file name"),
        ("figures: {grid: {width: 90}}", "figure 'grid': width must be"),
        ("colours: {rtn: blau}", "'blau' is no colour"),
        ("- a", "the file of a paper is a mapping"),
        ("runs: run", "runs must be a list"),
    ],
)
def test_mistakes_are_told_in_one_sentence(paper, text, sentence):
    path = paper(text)
    with pytest.raises(BenchError) as error:
        read_paper(path)
    assert str(error.value).startswith(str(path))
    assert sentence in str(error.value)
