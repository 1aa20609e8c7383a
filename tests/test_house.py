"""The shape of the sources: folders in order, no circle, one class for one name."""

import ast

import pytest

from tools import house

FILES = house.modules()
GRAPH = house.import_graph(FILES)


def test_imports_go_down_the_house_and_never_in_a_circle():
    assert house.upward(GRAPH) == []
    assert house.circle(GRAPH) == []
    assert house.circle(house.folder_graph(GRAPH)) == []


def test_no_class_name_is_used_twice():
    assert house.repeated_classes(FILES) == []


def test_long_signatures_stay_rare():
    assert len(house.long_signatures(FILES)) <= 15


@pytest.mark.parametrize(
    ("graph", "found"),
    [({"a": {"b"}, "b": set()}, False), ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, True)],
)
def test_a_circle_is_found(graph, found):
    assert bool(house.circle(graph)) is found


def test_an_import_against_the_order_is_found():
    graph = {"mpqbench.core.files": {"mpqbench.job.run"}, "mpqbench.report.table": set()}
    assert house.upward(graph) == ["mpqbench.core.files imports mpqbench.job.run"]


def test_the_graph_sees_imports_inside_functions():
    inside = [
        name
        for name, path in FILES.items()
        if any(
            isinstance(node, ast.ImportFrom) and node.col_offset > 0 and node.level
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]
    assert inside
    assert all(GRAPH[name] for name in inside)
