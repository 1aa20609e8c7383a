"""The page on TreeQ quotes its sweeps as their records have them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mpqbench.records.statistics import paired_difference
from mpqbench.records.store import RecordStore

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/treeq.md").read_text()


def less_full(records, method, seeds=(100, 101)):
    """Paired difference of FD to full precision on each seed."""
    for seed in seeds:
        own, full = (records[name, seed].scores["fd"] for name in (method, "full-precision"))
        yield "{:+.3f} ±{:.3f}".format(*paired_difference(own, full))


def mean(records, metric):
    return sum(record.scores[metric].value for record in records) / len(records)


def with_branch(record):
    return sum(n for precision, n in record.allocation.counts.items() if precision[-1] != "-")


def test_the_page_on_treeq_quotes_the_sweep_of_what_a_node_keeps():
    folder = ROOT / "leaderboards/keep"
    page = " ".join(PAGE.split())
    records = {r.method: r for r in RecordStore(folder).read_all()}
    one, four, many = (records[f"treeq.keep-{keep}"] for keep in (1, 4, 16))
    assert f"after {one.search_evals:.0f} evaluations. Four kept find nothing better" in page
    assert one.scores["noise_mse"].value == four.scores["noise_mse"].value
    errors = [f"{1e3 * own.scores['noise_mse'].value:.2f}" for own in (many, one)]
    change = paired_difference(many.scores["fd"], one.scores["fd"])
    found = (
        "for {:.0f} evaluations the noise error is {} instead of {} (10⁻³), and FD {:+.3f} ±{:.3f}"
    )
    assert found.format(many.search_evals, *errors, *change) in page


def test_the_page_on_treeq_quotes_the_sweep_of_the_size_of_a_branch():
    folder = ROOT / "leaderboards/branch-size"
    records = {(r.method, r.seed): r for r in RecordStore(folder).read_all()}
    cells = pd.read_csv(folder / "ablation.csv")
    assert f"Full precision has an FD of {cells[cells.budget == 'FP'].fd.item():.3f}; noise" in PAGE
    cells = cells[cells.budget == "W3A3"].drop_duplicates("method")
    assert len(cells) == 10
    taken = {}
    for row in cells.to_dict("records"):
        own = [records[row["method"], seed] for seed in (100, 101)]
        offered = row["branch"] != "none"
        if offered:
            taken[row["branch"], row["value"]] = [with_branch(record) for record in own]
        fields = [
            f"`{row['branch']}`" if offered else "none",
            f"{row['value']:g}" if offered else "",
            f"{1e3 * mean(own, 'noise_mse'):.2f}",
            f"{mean(own, 'psnr'):.1f}",
            *less_full(records, row["method"]),
            ", ".join(map(str, taken[row["branch"], row["value"]])) if offered else "",
        ]
        assert f"| {' | '.join(fields)} |".replace("|  |", "| |") in PAGE
    assert max(map(max, taken.values())) == 6
    assert max(max(own) for (_, size), own in taken.items() if size == 4) == 1
    errors = cells.set_index("method").noise_mse
    assert 0.035 < 1 - errors.min() / errors["treeq-ilp.none"] < 0.045
    assert (cells.fd_delta.abs() < cells.fd_delta_ci).all()
    same = [records[f"treeq-ilp.{name}-1", 100] for name in ("monarch.like_rank", "low-rank.rank")]
    assert same[0].scores["fd"].value == same[1].scores["fd"].value


def test_the_page_on_treeq_quotes_the_sweep_of_calibration():
    errors, seconds = [], []
    for number in (64, 128, 256):
        folder = ROOT / f"leaderboards/calibration/treeq-ilp.calibration-{number}"
        records = {(r.method, r.seed): r for r in RecordStore(folder).read_all()}
        own = [records[folder.name, seed] for seed in (100, 101)]
        assert all(record.protocol["calibration"] == number for record in own)
        errors.append(mean(own, "noise_mse"))
        steps = ("calibrate", "search", "quantize")
        seconds.append(sum(record.seconds[step] for record in own for step in steps))
        fields = [
            str(number),
            f"{1e3 * errors[-1]:.2f}",
            f"{mean(own, 'psnr'):.1f}",
            *less_full(records, folder.name),
        ]
        assert f"| {' | '.join(fields)} |" in PAGE
    assert f"lower the noise error by another {100 * (1 - errors[2] / errors[1]):.0f} %" in PAGE
    assert 1.4 < seconds[2] / seconds[1] < 1.7
    assert "for half as much time again in" in PAGE
