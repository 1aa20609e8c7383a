"""What the README and the page on TreeQ say of it is what its records say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mpqbench.records.statistics import paired_difference
from mpqbench.records.store import RecordStore

ROOT = Path(__file__).parents[1]
BUDGETS = (("W4A4", "W3A3"), ("W2A3", "W2A2"))


def quoted_rows(folder, quoted):
    """Lines of two tables of the leaderboard in ``folder``, whose methods have these texts."""
    table = pd.read_csv(ROOT / folder / "leaderboard.csv")
    rows = table.set_index(["method", "budget"])
    assert set(quoted.values()) == set(table.method) - {"full-precision"}
    assert set(table.budget) == {"FP", *BUDGETS[0], *BUDGETS[1]}
    for budgets in BUDGETS:
        for text, method in quoted.items():
            cells = []
            for budget in budgets:
                row = rows.loc[method, budget]
                done = [
                    f"{row.fd:.3f}",
                    f"{row.fd_delta:+.3f} ±{row.fd_delta_ci:.3f}",
                    f"{row.bitops / 1e9:.2f}",
                ]
                cells += done if row.status == "done" else [row.status, "", ""]
            # The second table repeats no explanation.
            name = text if budgets == BUDGETS[0] else text.partition(":")[0]
            yield f"| {name} | {' | '.join(cells)} |".replace("|  ", "| ")
    full = rows.loc["full-precision", "FP"]
    yield f"{full.fd:.3f} ±{full.fd_ci:.3f}"


def test_the_readme_quotes_treeq_and_what_it_has_to_beat():
    quoted = {
        "`quarot`": "quarot",
        "`svdquant`": "svdquant",
        "`groups`: TreeQ's formats, transform and rounding alone": "groups",
        "`groups-corrected`: the same, corrected": "groups-corrected",
        "`groups-ilp-corrected`: bits of an integer program, corrected": "groups-ilp-corrected",
        "`treeq`": "treeq",
        "`groups-peft`: uniform bits, trained, not corrected": "groups-peft",
        "`groups-peft-corrected`: both": "groups-peft-corrected",
        "`treeq-peft`": "treeq-peft",
    }
    readme = (ROOT / "README.md").read_text()
    for line in quoted_rows("leaderboards/embedded", quoted):
        assert line in readme


def test_the_readme_says_what_a_correction_is_worth_and_where_branches_are():
    folder = ROOT / "leaderboards/embedded"
    records = {(r.method, r.budget): r for r in RecordStore(folder).read_all()}
    readme = " ".join((ROOT / "README.md").read_text().split())

    def less(method, rival, budget):
        pair = (records[name, budget].scores["fd"] for name in (method, rival))
        return paired_difference(*pair)

    counts = {budget: records["treeq", budget].allocation.counts for p in BUDGETS for budget in p}
    falls = [less("groups-corrected", "groups", budget) for pair in BUDGETS for budget in pair]
    text = [f"{-own:.3f} ±{half:.3f}" for own, half in falls]
    assert f"falls by {', '.join(text[:3])} and {text[3]} from W4A4 to W2A2" in readme
    falls = [less("groups-peft-corrected", "groups-peft", b) for pair in BUDGETS for b in pair]
    text = [f"{-own:.3f} ±{half:.3f}" for own, half in falls]
    assert f"still takes away {', '.join(text[:3])} and {text[3]}." in readme
    beside = [sum(n for p, n in counts[b].items() if not p.endswith("-")) for b in ("W4A4", "W3A3")]
    assert f"{beside[0]} of 48 groups have one at W4A4, {beside[1]} at W3A3, none at" in readme
    assert all(p.endswith("-") for budget in BUDGETS[1] for p in counts[budget])


def test_the_readme_says_where_treeq_wins_and_where_it_does_not():
    folder = ROOT / "leaderboards/embedded"
    records = {(r.method, r.budget): r for r in RecordStore(folder).read_all()}
    readme = " ".join((ROOT / "README.md").read_text().split())
    budgets = [budget for pair in BUDGETS for budget in pair]

    def less(method, rival, budget):
        pair = (records[name, budget].scores["fd"] for name in (method, rival))
        own, half = paired_difference(*pair)
        return own, f"{abs(own):.3f} ±{half:.3f}"

    for rival in ("quarot", "svdquant"):
        assert all(less("treeq", rival, budget)[0] < 0 for budget in budgets)
    saved = [
        1 - records["treeq", budget].costs.bitops / records[rival, budget].costs.bitops
        for rival in ("quarot", "svdquant")
        for budget in budgets
    ]
    assert f"with {100 * min(saved):.0f} to {100 * max(saved):.0f} % fewer BitOPs" in readme
    others = {method for method, _ in records} - {"full-precision", "groups-peft-corrected"}
    for budget in budgets:
        assert all(less("groups-peft-corrected", m, budget)[0] <= 0 for m in others)
    behind = [less("treeq-peft", "groups-peft-corrected", b)[1] for b in ("W4A4", "W3A3")]
    assert f"is behind it by {behind[0]} at W4A4 and {behind[1]} at W3A3, and level at" in readme
    ahead = less("treeq", "groups-corrected", "W2A3")
    assert ahead[0] < 0
    assert f"the search is ahead at W2A3 by {ahead[1]}, level at W4A4" in readme
    behind = less("treeq", "groups-corrected", "W3A3")
    assert behind[0] > 0
    counts = records["treeq", "W3A3"].allocation.counts
    low = sum(n for precision, n in counts.items() if precision.startswith("W2"))
    assert f"and {behind[1]} behind at W3A3, where it puts {low} of 48 groups at W2" in readme

    ahead = less("treeq", "groups-ilp-corrected", "W4A4")
    assert ahead[0] < 0
    words = f"leaves `treeq` ahead by {ahead[1]} at W4A4, level at W3A3 and level at W2A3"
    assert words in readme
    for budget in ("W3A3", "W2A3"):
        pair = (records[m, budget].scores["fd"] for m in ("treeq", "groups-ilp-corrected"))
        difference, interval = paired_difference(*pair)
        assert abs(difference) <= interval

    def lower(method, rival):
        for budget in budgets[:3]:
            own, other = (records[m, budget].scores["noise_mse"].value for m in (method, rival))
            yield f"{100 * (1 - own / other):.0f}"

    words = "are {}, {} and {} % below those of uniform precision from W4A4 to W2A3"
    assert words.format(*lower("treeq", "groups-corrected")) in readme
    trained = lower("treeq-peft", "groups-peft-corrected")
    assert "and trained {}, {} and {} %.".format(*trained) in readme


def test_the_page_on_treeq_quotes_what_it_was_before_a_correction():
    quoted = {
        "`quarot`": "quarot",
        "`svdquant`": "svdquant",
        "`groups`: TreeQ's formats, transform and rounding alone": "groups",
        "`groups-ilp`: an integer program for the bits": "groups-ilp",
        "`groups-peft`: uniform bits, trained": "groups-peft",
        "`treeq`": "treeq",
        "`treeq-over`: its branch on top of the budget": "treeq-over",
        "`treeq-peft`": "treeq-peft",
        "`treeq-peft-over`: its branch on top of the budget": "treeq-peft-over",
    }
    folder = ROOT / "leaderboards/uncorrected"
    page = (ROOT / "docs/treeq.md").read_text()
    for line in quoted_rows("leaderboards/uncorrected", quoted):
        assert line in page
    counts = {
        (record.method, record.budget): record.allocation.counts
        for record in RecordStore(folder).read_all()
        if record.status == "done"
    }
    low = {
        method: sum(n for precision, n in own.items() if precision.startswith("W2"))
        for (method, budget), own in counts.items()
        if budget == "W3A3"
    }
    lows = [low[method] for method in ("treeq", "groups-ilp", "groups", "treeq-over")]
    assert lows == [23, 12, 0, 14]
    page = " ".join(page.split())
    assert "putting 23 of 48 groups at W2, `groups-ilp` 12, uniform precision none" in page
    assert "the search alone still put 14 groups there" in page
    assert counts["treeq", "W2A3"]["W2A2"] == 35
    assert "it took 35 groups down to W2A2" in page


def test_the_page_on_treeq_quotes_the_study_of_scores_and_noise():
    folder = ROOT / "leaderboards/scores"
    page = (ROOT / "docs/treeq.md").read_text()
    cells = pd.read_csv(folder / "ablation.csv")
    assert f"Full precision has an FD of {cells[cells.budget == 'FP'].fd.item():.3f}" in page
    records = {(r.method, r.seed): r for r in RecordStore(folder).read_all()}
    names = {"single": "`output-mse`", "span": "`span-mse`", "uniform": "none: `uniform`"}

    def less(method, rival):
        for seed in (100, 101):
            pair = (records[name, seed].scores["fd"] for name in (method, rival))
            yield "{:+.3f} ±{:.3f}".format(*paired_difference(*pair))

    for row in cells[cells.budget == "W3A3"].to_dict("records"):
        counts = [records[row["method"], seed].allocation.counts for seed in (100, 101)]
        low = [sum(n for p, n in own.items() if p[:2] == "W2") for own in counts]
        beside = [sum(n for p, n in own.items() if not p.endswith("-")) for own in counts]
        searched = row["score"] != "uniform"
        fields = [
            names[row["score"]],
            f"{row['value']:g}" if searched else "",
            f"{row['fd']:.3f}",
            *less(row["method"], "full-precision"),
            f"{1e3 * row['noise_mse']:.2f}",
            ", ".join(map(str, low)),
            ", ".join(map(str, beside)) if searched else "",
        ]
        assert f"| {' | '.join(fields)} |".replace("|  |", "| |") in page
    page = " ".join(page.split())
    chosen = "treeq.single.noise-0.25"
    assert "less sums of ten are {} on".format(*less(chosen, "treeq.span.noise-0.25")) in page
    assert "{} on seed 101;".format([*less(chosen, "treeq.span.noise-0.25")][1]) in page
    assert "uniform precision is {} and {}.".format(*less(chosen, "treeq.uniform")) in page


def test_the_page_on_treeq_quotes_the_factorial_of_training_and_correction():
    page = (ROOT / "docs/treeq.md").read_text()
    records = {(r.method, r.seed): r for r in RecordStore(ROOT / "leaderboards/trained").read_all()}

    def less(method, rival):
        for seed in (100, 101):
            pair = (records[name, seed].scores["fd"] for name in (method, rival))
            yield "{:+.3f} ±{:.3f}".format(*paired_difference(*pair))

    quoted = {
        "neither": "treeq.ptq.none",
        "corrected: `treeq`": "treeq.ptq.unbiased",
        "trained": "treeq.peft.none",
        "both: `treeq-peft`": "treeq.peft.unbiased",
    }
    for text, method in quoted.items():
        both = [records[method, seed].scores for seed in (100, 101)]
        noise, psnr = (sum(own[name].value for own in both) / 2 for name in ("noise_mse", "psnr"))
        cells = [text, *less(method, "full-precision"), f"{1e3 * noise:.2f}", f"{psnr:.1f}"]
        assert f"| {' | '.join(cells)} |" in page
    page = " ".join(page.split())
    trained, corrected = quoted["both: `treeq-peft`"], quoted["corrected: `treeq`"]
    assert "and FD by {} and {}: at three bits".format(*less(trained, corrected)) in page
    change = less(trained, quoted["trained"])
    assert "a correction changes FD by {} and {}: it stays".format(*change) in page
