"""CSV, Markdown and terminal text, byte for byte where files are written."""

# ruff: noqa: E501  (golden rows are as long as they are)

import io

import pytest
from rich.console import Console

from mpqbench.report.grid import ranked
from mpqbench.report.render import print_table, to_csv, to_markdown
from mpqbench.report.table import leaderboard, summary


@pytest.fixture
def small(record):
    """Full precision, two methods at one budget, one failure with a nasty reason."""
    return [
        record("full-precision", "FP", 5.0),
        record("rtn", "W4A4", 8.0, wobble=(0.3, -0.1, -0.1)),
        record("gptq", "W4A4", 6.5, wobble=(0.2, -0.1, -0.1)),
        record("rtn", "W2A2", status="diverged", reason="NaN in a|b,\nblock 3"),
    ]


GOLDEN_CSV = """\
model,method,budget,format,seed,status,reason,fd,fd_ci,fd_delta,fd_delta_ci,fd_infinity,fd_infinity_ci,sfd,sfd_ci,is,is_ci,precision,recall,kid,kid_ci,prompt_top1,prompt_top1_ci,prompt_top5,prompt_top5_ci,clip_score,clip_score_ci,psnr,ssim,lpips,latent_mse,output_mse,bitops,bitops_linear,bitops_per_image,overhead_rescale,overhead_zero_point,overhead_ranges,overhead_rotation,overhead_smoothing,overhead_branch,overhead_correction,bytes,effective_bits,satisfied,cost_rule,search_evals,seconds,peak_mb,extractor,n_images,fingerprint,metric_fingerprint,noise_mse,rank,baseline_method,baseline_delta,baseline_delta_ci,baseline_p,baseline_p_holm,baseline_holm,hypervolume,mark,ties,remark,notes,mean_weight_bits,mean_activation_bits,environment,commit,recipe_digest,model_digest,job
fashion-dit,full-precision,FP,,0,done,,5,0.5,,,,,,,9.45,0.1,0.75,,0.005,0.0005,,,,,,,,,,,,25600000000,25600000000,1024000000000,,,,,,,,4000000,16,true,integer,0,1.75,0,fashion,1000,f-full-precision,m1,,,,,,,,,,,,,,,,"unknown, PyTorch unknown, cpu, sources unknown",,d827049039f82a8b,,fashion-dit__full-precision__FP__s0__m1
fashion-dit,gptq,W4A4,channel,0,done,,6.5,0.5,1.5,0.2263213055,,,,,9.435,0.1,0.75,,0.0065,0.0005,,,,,,,33.5,,,,,1600000000,1600000000,64000000000,,,,,,,,4000000,16,true,integer,0,1.75,0,fashion,1000,f-gptq,m1,,1,rtn,-1.5,0.1306666667,4.150621598e-112,4.150621598e-112,better,0.2450284091,,,,,,,"unknown, PyTorch unknown, cpu, sources unknown",,d827049039f82a8b,,fashion-dit__gptq__W4A4__s0__m1
fashion-dit,rtn,W4A4,channel,0,done,,8,0.5,3,0.1306666667,,,,,9.42,0.1,0.75,,0.008,0.0005,,,,,,,32,,,,,1600000000,1600000000,64000000000,,,,,,,,4000000,16,true,integer,0,1.75,0,fashion,1000,f-rtn,m1,,2,gptq,1.5,0.1306666667,4.150621598e-112,4.150621598e-112,worse,0.08522727273,,,,,,,"unknown, PyTorch unknown, cpu, sources unknown",,d827049039f82a8b,,fashion-dit__rtn__W4A4__s0__m1
fashion-dit,rtn,W2A2,channel,0,diverged,"NaN in a|b, block 3",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,0,1.75,0,,0,f-rtn,m1,,,,,,,,,,,,,,,,"unknown, PyTorch unknown, cpu, sources unknown",,d827049039f82a8b,,fashion-dit__rtn__W2A2__s0__m1
"""

GOLDEN_MARKDOWN = """\
# Leaderboard of demo

## fashion-dit (metric m1)

| method | budget | format | seed | FD | ΔFD | IS | precision | KID (10⁻³) | PSNR (dB) | GBitOPs | GBitOPs, linear layers | MB | eff. bits | search evals | seconds | rank | baseline | ΔFD to baseline | Holm | note |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- | --- |
| full-precision | FP |  | 0 | 5.00 ±0.50 |  | 9.45 ±0.10 | 0.750 | 5.000 ±0.500 |  | 25.600 | 25.600 | 4.00 | 16.00 | 0 | 1.8 |  |  |  |  |  |
| gptq | W4A4 | channel | 0 | **6.50 ±0.50** | **+1.50 ±0.23** | **9.44 ±0.10** | 0.750 | **6.500 ±0.500** | **33.50** | 1.600 | 1.600 | 4.00 | 16.00 | 0 | 1.8 | 1 | rtn | -1.50 ±0.13 | better |  |
| rtn | W4A4 | channel | 0 | 8.00 ±0.50 | +3.00 ±0.13 | 9.42 ±0.10 | 0.750 | 8.000 ±0.500 | 32.00 | 1.600 | 1.600 | 4.00 | 16.00 | 0 | 1.8 | 2 | gptq | +1.50 ±0.13 | worse |  |
| rtn | W2A2 | channel | 0 |  |  |  |  |  |  |  |  |  |  | 0 | 1.8 |  |  |  |  | diverged: NaN in a\\|b, block 3 |

- N = 1000 images per row; features: fashion; reference: embedded; protocol: quick (DDIM 20 steps, guidance 1.5).
- FD is a Fréchet distance in these features: it is not FID, and published FID values cannot be compared with it.
- ±: half-width of the 95 % interval, 1.96 standard errors of the delete-group jackknife over the generated images. The interval of a row of one realization leaves out how much another calibration set would change the row. ΔFD: paired difference to full precision over the same noise and classes, with its own jackknife interval; both are for this N, as the bias does not cancel where variances differ.
- ≈FP / ≈best: the paired 95 % interval of the difference to full precision / to the best method of that budget and class of formats contains 0.
- Rank: by FD among the methods of one budget, class of formats and seed that keep it and are paired with full precision; best values in bold.
- Baseline: the best other method of that budget, class of formats and seed. ΔFD to it is paired; its interval is for this one comparison. Holm: better or worse by the procedure of Holm (1979) at 0.05 over all these comparisons of one budget and class of formats.
- Hypervolume: the share of the box from 0 to a reference point (BitOPs of full precision, 1.1 times the largest FD that is ranked) that the ranked rows of a method dominate; larger is better. channel, up to (2.56e+10, 8.8): gptq 0.245, rtn 0.085.
"""


def test_files_are_byte_stable_whatever_the_order_of_records(small):
    for records in (small, small[::-1]):
        assert to_csv(leaderboard(records)) == GOLDEN_CSV
        assert to_markdown(leaderboard(records), "Leaderboard of demo") == GOLDEN_MARKDOWN


def test_a_failed_row_stays_visible_with_its_reason_in_the_terminal(small):
    assert "NaN in a|b, block 3" in terminal(leaderboard(small))
    only = leaderboard(small[-1:])
    assert "NaN in a|b, block 3" in terminal(only)
    assert "No job of this block is done." in to_markdown(only, "t")


def test_best_is_sought_only_where_methods_compete(record):
    table = leaderboard(
        [
            record("full-precision", "FP", 1.0),
            record("rtn", "W8A8", 3.0),
            record("rtn", "W4A4", 8.0),
            record("gptq", "W4A4", 6.0),
            record("greedy", "W4A4", 2.0, satisfied=False),
        ]
    )
    block = table.blocks[0]
    best = [cell for cell, place in ranked(block).items() if place == 1]
    cells = {(block.rows[i]["method"], name) for i, name in best}
    # fd and kid are better when low, is and psnr when high; all precisions are equal.
    names = ("fd", "fd_delta", "kid", "is", "psnr")
    assert cells == {("gptq", name) for name in names}
    assert "over budget" in to_markdown(table, "t")


def terminal(table, width=120):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_table(table, console)
    return console.file.getvalue()


def test_terminal_fits_120_columns_without_cutting_numbers(record):
    seeds = range(3)
    long = "a-method-with-quite-a-long-name"
    records = [record("full-precision", "FP", 105.25, seed=s) for s in seeds]
    records += [record(long, "W4A4", 512.75, seed=s, macs=10**11) for s in seeds]
    records += [record("greedy", "W4A4", 412.5, seed=s, satisfied=False) for s in seeds]
    for table in (leaderboard(records), summary(records)):
        text = terminal(table)
        assert max(map(len, text.splitlines())) <= 120
        assert "512.75 ±0" in text
        assert "over budget" in text
        assert "greedy" in text


def test_without_a_feature_network_fidelity_is_compared_and_nothing_ranked(record):
    rows = [record("rtn", "W4A4", 8.0), record("gptq", "W4A4", 6.0)]
    kept = [r.model_copy(update={"scores": {"psnr": r.scores["psnr"]}}) for r in rows]
    text = to_markdown(leaderboard(kept), "t")
    assert "FD" not in text
    assert "**34.00**" in text
    assert "nothing is ranked" in text


def test_a_terminal_gets_the_first_rows_of_many_and_is_told_of_the_rest(record, monkeypatch):
    monkeypatch.setattr("mpqbench.report.render.MOST_PRINTED", 2)
    rows = [record(f"method-{number}", "W4A4", 5.0 + number) for number in range(4)]
    text = terminal(leaderboard([*rows, record("lost", status="failed", reason="no memory")]))
    rows = [line.split()[:2] for line in text.splitlines()]
    assert ["method-1", "W4A4"] in rows
    assert ["method-2", "W4A4"] not in rows
    assert "3 more rows are in the files." in text
    assert "lost W4A4 seed 0: failed: no memory" in text
