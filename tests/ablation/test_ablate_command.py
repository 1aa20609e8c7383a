"""``mpqbench ablate`` as a user meets it, on a tiny model."""

import shutil

import pandas as pd
import pytest

from mpqbench.core.registry import discover
from mpqbench.lab.ablation.design import Design

FEW = ["--protocol", "smoke", "--features", "none", "--images", 4, "--calibration", 8]


@pytest.fixture
def ablate(mpqbench, tiny_folder, tmp_path):
    fixed = [*FEW, "--model", tiny_folder, "--budget", "W3A3", "--out", tmp_path / "out"]
    return lambda *arguments: mpqbench("ablate", *fixed, *arguments)


@pytest.fixture
def report(mpqbench):
    return lambda *arguments: mpqbench("report", *arguments)


def test_a_factorial_from_the_command_to_its_files(ablate, tmp_path):
    arguments = ["gptq", "--factor", "transform=none|hadamard", "--factor", "rounding=gptq|nearest"]
    code, out, _ = ablate(*arguments)
    assert code == 0
    folder = tmp_path / "out"
    cells = pd.read_csv(folder / "ablation.csv").set_index("method")
    assert list(cells.index) == ["full-precision"] + [
        f"gptq.{a}.{b}" for a in ("none", "hadamard") for b in ("gptq", "nearest")
    ]
    assert (cells.status == "done").all()
    effects = pd.read_csv(folder / "effects.csv")
    assert set(effects.response) == {"output_mse", "noise_mse"}
    alone = effects[(effects.kind == "alone") & (effects.factor == "rounding")]
    for row in alone.to_dict("records"):
        error = cells[row["response"]]
        assert row["effect"] == pytest.approx(error["gptq.none.nearest"] / error["gptq.none.gptq"])
        assert pd.isna(row["low"])
    text = (folder / "ablation.md").read_text()
    assert "1 seed: no interval over seeds" in text
    assert "No feature network" in text
    assert (folder / "ablation.tex").read_text().count(r"\checkmark") == 4
    for name in ("effects-W3A3.pdf", "interactions-noise_mse-W3A3.png"):
        assert (folder / "figures/ablation" / name).stat().st_size > 0
    assert (folder / "leaderboard.csv").exists()

    code, out, _ = ablate(*arguments, "--dry-run")
    assert code == 0
    assert "transform: none *, hadamard" in out
    assert out.count("done before") == 5


def test_seeds_that_were_run_apart_are_reported_together(ablate, report, tmp_path, undrawn):
    arguments = ["gptq", "--factor", "rounding=gptq|near: nearest"]
    for seeds in ("3", "4", "3,4"):
        assert ablate(*arguments, "--seeds", seeds, "--out", tmp_path / f"run-{seeds}")[0] == 0
    apart, both = tmp_path / "run-3", tmp_path / "run-3,4"
    for path in (tmp_path / "run-4/records").iterdir():
        shutil.copy(path, apart / "records")
    code, out, _ = report(apart)
    assert code == 0
    for name in ("ablation.md", "ablation.tex", "effects.csv", "leaderboard.md"):
        assert str(apart / name) in out
    pd.testing.assert_frame_equal(
        pd.read_csv(apart / "ablation.csv").drop(columns="seconds"),
        pd.read_csv(both / "ablation.csv").drop(columns="seconds"),
    )
    assert (apart / "effects.csv").read_text() == (both / "effects.csv").read_text()


def test_a_report_needs_the_plugins_of_the_ablation(ablate, report, tmp_path, undrawn):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from mpqbench.baselines.roundings.nearest import Nearest as Mine\n"
        'PLUGINS = {"rounding": {"mine": Mine}}\n'
    )
    known = ["--plugins", mine]
    assert ablate("gptq", "--factor", "rounding=gptq|mine", *known)[0] == 0
    written = (tmp_path / "out/effects.csv").read_text()
    code, _, err = report(tmp_path / "out", "--out", tmp_path / "again")
    assert code == 2
    assert "out/ablation.yaml: unknown rounding 'mine'" in err
    assert "(plugins from files: --plugins)" in err
    assert not (tmp_path / "again").exists()
    assert report(tmp_path / "out", *known, "--out", tmp_path / "again")[0] == 0
    assert (tmp_path / "again/effects.csv").read_text() == written


def test_an_ablation_without_records_cannot_be_reported(report, tmp_path):
    recipe = discover().method("gptq")
    Design(method=recipe, sweeps=("protocol.calibration=8,16",)).save(tmp_path / "mine")
    code, _, err = report(tmp_path / "mine")
    assert code == 2
    assert "has no record of any cell of its ablation: run it first" in err
    (tmp_path / "mine/ablation.yaml").write_text("method: {name: x}\nsweep: [a.b=1,2]\n")
    code, _, err = report(tmp_path / "mine")
    assert code == 2
    assert "ablation.yaml: unknown key 'sweep'" in err


def test_a_sweep_of_the_protocol_has_folders_of_its_own(ablate, report, tmp_path, undrawn):
    code, _, _ = ablate("gptq", "--sweep", "protocol.calibration=8,16")
    assert code == 0
    folder = tmp_path / "out"
    code, out, _ = report(folder, "--out", tmp_path / "again")
    assert code == 0
    for name in ("ablation.md", "gptq.calibration-8/leaderboard.csv"):
        assert (tmp_path / "again" / name).read_text() == (folder / name).read_text()
        assert str(tmp_path / "again" / name) in out
    code, _, err = report(folder, "--scan", "searcher.keep")
    assert code == 2
    assert "--merge and --scan need one folder with records: give " in err
    cells = pd.read_csv(folder / "ablation.csv")
    swept = cells[cells.method != "full-precision"]
    assert list(swept.value) == [8, 16]
    assert swept.metric_fingerprint.nunique() == 2
    assert list(folder.glob("figures/ablation/scan-protocol.calibration-*.pdf"))
    for value in (8, 16):
        assert len(list((folder / f"gptq.calibration-{value}/records").iterdir())) == 2
