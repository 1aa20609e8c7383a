"""Merge trees and heat maps hold what the search left, each number computed another way."""

import numpy as np
import pandas as pd
import pytest
from synthetic_search import add_search

from mpqbench.core.errors import BenchError, BenchWarning
from mpqbench.methods.treeq.tss import TSS
from mpqbench.records.runs import read_runs
from mpqbench.report.search.maps import (
    mean_by_bits,
    mean_table,
    score_grid,
)
from mpqbench.report.search.merges import node_points, node_title, telling_nodes, tree_nodes
from mpqbench.report.search.runs import read_table


def searched(store, record, **options):
    """One TSS run: its record, its merges, its problem."""
    slot = {"name": "tss", "keep": 4}
    entry, problem = add_search(store, record("tss", "W3A3", 7.0), TSS(keep=4), slot, **options)
    return entry, read_table(read_runs([store.folder]), entry.job, "merges"), problem


def test_merge_tree_is_the_binary_tree_of_the_search(store, record):
    _, merges, problem = searched(store, record)
    nodes = {node.node: node for node in tree_nodes(merges).itertuples()}
    assert len(nodes) == 2 * len(problem.groups) - 1
    leaves = [node for node in nodes.values() if node.level == 0]
    assert [node.groups[0] for node in sorted(leaves, key=lambda n: n.place)] == [*problem.groups]
    for node in nodes.values():
        if node.level:
            left, right = (nodes[child] for child in node.children)
            assert node.groups == left.groups + right.groups
            assert node.scored <= left.kept * right.kept
            assert left.place < node.place < right.place
        assert node.kept <= node.scored
    assert max(nodes) == max(node.node for node in nodes.values() if len(node.groups) == 16)


def test_leaves_of_a_shuffled_tree_stand_so_that_no_edges_cross(store, record):
    entry, problem = add_search(
        store, record("tss", "W3A3", 7.0), TSS(keep=3, order="shuffled"), {"name": "tss"}
    )
    nodes = {
        n.node: n
        for n in tree_nodes(read_table(read_runs([store.folder]), entry.job, "merges")).itertuples()
    }
    place = {n.groups[0]: n.place for n in nodes.values() if n.level == 0}
    assert sorted(place.values()) == list(range(16))
    assert sorted(place, key=place.get) != list(problem.groups)
    for node in nodes.values():
        own = sorted(place[group] for group in node.groups)
        assert own == list(np.arange(own[0], own[0] + len(own)))


def test_points_of_a_merge_are_those_of_the_table(store, record):
    _, merges, problem = searched(store, record)
    below, root = telling_nodes(merges)
    last = merges[merges.node == root]
    assert set(last.groups.iloc[0].split()) == set(problem.groups)
    assert merges[merges.node == below].level.iloc[0] == last.level.iloc[0] - 1
    points = node_points(merges, below)
    own = merges[merges.node == below]
    assert points[points.kept].score.tolist() == own[own.kept].score.tolist()
    assert points.load.to_numpy() * own.share.to_numpy() == pytest.approx(own.cost.to_numpy())
    assert 0 < points.kept.sum() <= 4 < len(points)
    kept = node_points(merges, root).query("kept")
    assert kept.score.item() == pytest.approx(problem.score(problem.best()))
    assert node_title(merges, root) == "node 30: 16 of 16 groups\n0.attn.qkv to 3.mlp.down"
    with pytest.raises(BenchError, match="no node 31: give one from 0 to 30"):
        node_points(merges, 31)


def test_sensitivities_are_means_of_the_table(store, record):
    entries = [
        add_search(store, record("tss", "W3A3", 7.0, seed=seed), TSS(keep=2), {"name": "tss"})
        for seed in (0, 1)
    ]
    problems = [problem for _, problem in entries]
    for problem in problems:
        problem.table()
    tables = [pd.concat([pd.DataFrame(p) for p in q.notes["table"]]) for q in problems]
    mean = mean_table(tables)
    grid = score_grid(mean, "W4A4")
    at = [str(p) for p in problems[0].choices(problems[0].groups[0])].index("W4A4")
    for group in problems[0].groups:
        _, block, kind = group.split(".", 2)
        expected = np.mean([problem.table()[group][at] for problem in problems])
        assert grid.loc[kind, int(block)] == pytest.approx(expected)
    by_bits = mean_by_bits(mean, "activation")
    assert list(by_bits.columns) == [3, 4, 6]
    threes = [i for i, p in enumerate(problems[0].choices("blocks.0.mlp.up")) if p.activation == 3]
    expected = [
        problem.table()[f"blocks.{block}.mlp.up"][i]
        for problem in problems for block in range(4) for i in threes
    ]  # fmt: skip
    assert by_bits.loc["mlp.up", 3] == pytest.approx(np.mean(expected))
    with pytest.raises(BenchError, match="no scores of W8A8"):
        score_grid(mean, "W8A8")


def test_a_damaged_table_is_left_out_with_one_sentence(store, record):
    entry, _, _ = searched(store, record)
    store.trace_path(entry.job, "merges").write_bytes(b"PAR1 no")
    with pytest.warns(BenchWarning, match=r"merges\.parquet is damaged .* with --fresh"):
        assert read_table(read_runs([store.folder]), entry.job, "merges") is None
    assert read_table(read_runs([store.folder]), entry.job, "nothing") is None
