"""The study of branches: what it measures, what it counts, and what a user sees of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_pipeline import save_tiny_pipeline

from mpqbench.contracts import LayerData
from mpqbench.core.precision import Budget, Precision
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.core.recipe import PluginChoice, Recipe
from mpqbench.core.registry import discover
from mpqbench.core.suite import Job
from mpqbench.dit.groups import layer_groups
from mpqbench.job.resources import Resources, Session
from mpqbench.lab.study.branches import (
    MORE_BITS,
    NONE,
    BranchPlan,
    comparison_of,
    run_branches,
    spend_on_rows,
    variants,
)  # fmt: skip
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.group import PreparedLayer
from mpqbench.records.store import RecordStore
from mpqbench.report.looks import Style
from mpqbench.report.studies import (
    ALL,
    against,
    branch_figure,
    geometric_mean,
    wins,
)

LOW_RANK = PluginChoice(name="low-rank")


def plan_of(folder, **changes):
    protocol = PROTOCOLS["smoke"].model_copy(update={"calibration": 8, "features": "none"})
    job = Job(str(folder), Recipe(name="rtn"), Budget(Precision(3, None)), 0, protocol)
    return BranchPlan(job, **({"branches": (LOW_RANK,), "ranks": (2,), "bits": (3,)} | changes))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    store = RecordStore(tmp_path_factory.mktemp("branches"))
    return Session(Resources(discover(), folder=store.folder / "cache"), store)


@pytest.fixture(scope="module")
def rows(tiny_folder, session):
    return run_branches(plan_of(tiny_folder), session)[0]


def _inputs_of(model, path, inputs):
    """What the layer at ``path`` reads in a forward of its own, (rows, in) float64."""
    seen = []
    handle = model.transformer.get_submodule(path).register_forward_pre_hook(
        lambda _module, arguments: seen.append(arguments[0])
    )
    with torch.no_grad():
        model.transformer(inputs.latents, inputs.times, inputs.classes)
    handle.remove()
    return seen[0].flatten(0, 1).double().numpy()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_is_that_of_the_matrices_on_inputs_that_no_fit_saw(
    tiny_folder, session, rows, weighted
):
    plan, path = plan_of(tiny_folder), "transformer_blocks.1.ff.net.2"
    recordings = session.resources.recordings(plan.job)
    model, held = recordings.model, recordings.held_out
    x = _inputs_of(model, path, held.inputs)
    seen = _inputs_of(model, path, recordings.inputs())
    assert x.shape == seen.shape
    assert abs(x[:, None] - seen).max(-1).min() > 1e-3  # no row is in both

    (variant,) = (v for v in variants(plan, session.registry) if v.weighted == weighted)
    comparison = comparison_of(plan, [variant], session.resources)
    group = next(g for g in layer_groups(model.transformer) if path in g.layers)
    own = comparison.variants[0][1]
    with torch.no_grad():
        prepared = own.prepare(model.transformer, group, Precision(3, None))
        (rounded,) = own.round(prepared).values()
    weight = model.transformer.get_submodule(path).weight.detach().double().numpy()
    integers, scale = rounded.integers.integers.numpy(), rounded.integers.scale.double().numpy()
    assert abs(integers).max() <= 4
    lost = weight - integers * scale - rounded.branch.dense().double().numpy()
    expected = np.sum((x @ lost.T) ** 2) / np.sum((x @ weight.T) ** 2)

    (row,) = rows[
        (rows.layer == path) & (rows.branch == "low-rank") & (rows.weighted == weighted)
    ].itertuples()
    assert row.error == pytest.approx(expected, rel=1e-4)
    assert (row.out, row.width, row.kind) == (16, 64, "mlp.down")
    assert row.bytes == 2 * (16 + 64) + 2 * 2 * 2  # numbers of one byte, four scales of two
    assert row.macs == 2 * (16 + 64)


def test_every_layer_has_every_row_and_branches_help(rows):
    assert rows.layer.nunique() == 12
    assert len(rows) == len(rows.groupby(["layer", "branch", "weighted"])) == 12 * 5
    assert (rows.bytes <= (16 * 2 * (rows.out + rows.width) + 2 * 2 * 16) / 8).all()
    assert (rows.ratio == rows.error / rows.alone).all()
    plain, branched = rows[rows.branch == NONE], rows[rows.branch != NONE]
    assert (plain[["rank", "bytes", "macs"]] == 0).all(axis=None)
    assert (plain.error == plain.alone).all()
    assert (branched.ratio < 1).all()
    low = np.log(rows[rows.branch == "low-rank"].set_index("layer").error)
    fits = low.groupby(rows[rows.branch == "low-rank"].weighted.to_numpy()).mean()
    assert fits[True] < fits[False]


def test_a_layer_is_measured_once(tiny_folder, session, rows):
    paths = list((session.resources.cache.folder / "branches").rglob("*.pt"))
    assert len(paths) == 8
    before = {path: path.stat().st_mtime_ns for path in paths}
    paths[0].unlink()
    table, _ = run_branches(plan_of(tiny_folder), session)
    pd.testing.assert_frame_equal(table, rows, check_exact=True)
    assert [path for path in paths if path.stat().st_mtime_ns != before[path]] == paths[:1]


def _layer(weight):
    data = LayerData("layer", weight.shape[1], weight.shape[0])
    return PreparedLayer(None, weight, data)


def test_bits_go_to_the_rows_that_gain_most_and_never_beyond_the_room():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 10, generator=generator)
    inputs = torch.randn(50, 10, generator=generator) * torch.linspace(0.1, 3, 10)
    layer = _layer(weight)

    def rounded(bits):
        return quantize_weight(weight, layer.data.weight_format, bits, "layer")

    coarse, fine = (rounded(bits).dequantize() for bits in (3, 4))
    for x in (None, inputs):
        moved = torch.eye(10) if x is None else x
        for room in (5, 15, 16, 36, 49, 65):
            values, spent = spend_on_rows(layer, rounded, 3, room, x)
            count = max(room - 6, 0) // 10
            changed = [i for i in range(6) if not torch.equal(values[i], coarse[i])]
            assert len(changed) == count
            assert spent == (6 + 10 * count if count else 0)
            error = ((values - weight) @ moved.T).square().sum()
            best = min(
                ((torch.stack([fine[i] if i in some else coarse[i] for i in range(6)]) - weight)
                 @ moved.T).square().sum()
                for some in itertools.combinations(range(6), count)
            )  # fmt: skip
            assert float(error) == pytest.approx(float(best), rel=1e-5)
    assert torch.equal(spend_on_rows(layer, rounded, 3, 6 + 60, None)[0], fine)
    beyond, spent = spend_on_rows(layer, rounded, 3, 6 + 80, None)
    assert spent == 6 + 80
    assert sum(torch.equal(a, b) for a, b in zip(beyond, fine, strict=True)) == 4
    most, spent = spend_on_rows(layer, rounded, 3, 10**6, None)
    assert torch.equal(most, rounded(8).dequantize())
    assert spent == 5 * 60


def _table(errors):
    """``errors`` by branch and fit, of as many layers."""
    rows = [
        {"layer": f"l{i}", "kind": "mlp.up" if i % 2 else "mlp.down", "bits": 3, "rank": rank,
         "branch": branch, "weighted": weighted, "error": error * 2 / rank, "ratio": error / rank,
         "bytes": 10, "macs": 5}
        for rank in (2, 4)
        for (branch, weighted), own in errors.items()
        for i, error in enumerate(own)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_summaries_by_hand():
    table = _table(
        {
            ("a", False): [0.5, 0.4, 0.2], ("a", True): [0.4, 0.4, 0.1],
            ("b", False): [0.6, 0.2, 0.2], ("b", True): [0.4, 0.9, 0.3],
            (MORE_BITS, False): [0.1, 0.1, 0.1],
        }
    )  # fmt: skip
    part = table[table["rank"] == 2]
    assert wins(part).to_dict() == {
        ("a", False): 0,
        ("a", True): 2,
        ("b", False): 1,
        ("b", True): 1,
    }
    weighted, plain = (part[(part.branch == "a") & (part.weighted == w)] for w in (True, False))
    ratio, lower, layers = against(weighted, plain)
    assert (lower, layers) == (2, 3)
    assert ratio.mean == pytest.approx((0.8 * 1 * 0.5) ** (1 / 3))
    logs = np.log([0.8, 1, 0.5])
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)  # Student's t, 2 degrees of freedom
    assert ratio.high == pytest.approx(math.exp(logs.mean() + half), rel=1e-6)
    assert geometric_mean(pd.Series([0.5] * 4))[:3] == pytest.approx((0.5, 0.5, 0.5))
    figure = branch_figure(table, "m", Style(usual="text"))
    titles = [title for axes in figure.axes if (title := axes.get_title())]
    assert titles == [ALL, "mlp.down", "mlp.up"]


@pytest.mark.usefixtures("undrawn")
def test_the_command_writes_tables_and_a_figure(mpqbench, tmp_path, monkeypatch):
    few = (LOW_RANK, PluginChoice(name="sparse"))
    monkeypatch.setattr("mpqbench.lab.study.branches.BRANCHES", few)
    folder, out = save_tiny_pipeline(tmp_path / "tiny-dit", num_layers=1), tmp_path / "out"
    energy = "{name: monarch, permutation: energy, weighted: true}"
    grid = "{name: monarch, grid: [1, 2], weighted: true}"
    arguments = ["--model", folder, "--calibration", 2, "--rank", 2, "--bits", 3]
    arguments += ["--branch", energy, "--branch", grid, "--out", out]
    code, told, _ = mpqbench("study", "branches", *arguments)
    assert code == 0
    names = ["branches.csv", "branches.md", "figures/branches.png", "figures/branches.pdf"]
    assert [out / name for name in names] == [type(out)(line) for line in told.split()[-4:]]
    table = pd.read_csv(out / "branches.csv")
    branches = ["low-rank", "sparse", "monarch permutation=energy weighted=True"]
    branches += ["monarch grid=[1, 2] weighted=True"]
    assert list(dict.fromkeys(table.branch)) == [NONE, *branches, MORE_BITS]
    text = (out / "branches.md").read_text()
    low = table[(table.branch == "low-rank") & table.weighted]
    mean = math.exp(np.log(low.error / low.alone).mean())
    (line,) = (own for own in text.splitlines() if own.startswith("| low-rank | output"))
    assert f"{mean:.3f}" in line
    assert "| low-rank | x" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--branch", "monarsh"], "did you mean 'monarch'"),
        (["--branch", "{name: ["], "--branch is not readable YAML: line 1"),
        (["--branch", "{permutation: energy}"], "--branch: name"),
        (["--branch", "low-rank"], "branch 'low-rank' is compared with itself"),
        (["--branch", "{name: low-rank, bits: 16}"], "more than the"),
        (["--branch", "{name: monarch, grid: [2, 2], like_rank: 2}"], "give grid or like_rank"),
        (["--method", "rtm"], "did you mean 'rtn'"),
        (["--device", "cuda:7"], "device 'cuda:7' cannot be used"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    mpqbench, tiny_folder, tmp_path, arguments, sentence
):
    out = tmp_path / "out"
    code, _, err = mpqbench("study", "branches", "--model", tiny_folder, "--out", out, *arguments)
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
    assert not out.exists()
