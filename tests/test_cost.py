import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from diffusers import DiTTransformer2DModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mpqbench.cli.cost import cost
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.cost.count import CostReport, CountOptions, Operator, budget_limit, conventions, count
from mpqbench.cost.storage import QParamBytes
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.dit.zoo import CONFIGURATIONS
from mpqbench.records.store import RecordStore

W4A4 = Precision(4, 4)
W8A8 = Precision(8, 8)
SMALL = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 3, "sample_size": 8}


def _meta(name: str = "dit-xl-2-256", **changes) -> DiTTransformer2DModel:
    with torch.device("meta"):
        return DiTTransformer2DModel.from_config(CONFIGURATIONS[name] | changes)


@pytest.fixture(scope="module")
def xl() -> DiTTransformer2DModel:
    return _meta()


def _count(model, precision=W4A4, adaln=W8A8, **options) -> CostReport:
    groups = layer_groups(model)
    formats = {"weight_format": WeightFormat(), "activation_format": ActivationFormat()}
    allocation = uniform_allocation(groups, precision, adaln)
    return count(model, groups, allocation, CountOptions(**(formats | options)))


def _part(report: CostReport, *kinds: str) -> tuple[int, int]:
    rows = [op for op in report.operators if op.kind in kinds]
    return sum(op.macs for op in rows), sum(op.weights for op in rows)


def test_fixed_points_of_dit_xl_2(xl):
    report = _count(xl, FULL, FULL)
    assert report.macs == 118_621_421_568
    assert report.parameters == 674_834_720
    assert sum(op.weights for op in report.operators) == 674_345_088
    assert sum(op.biases for op in report.operators) == 489_632
    assert report.bitops == report.macs * 256
    assert report.bytes == report.parameters * 2
    assert report.effective_bits == 16


# Kind of operator: 10^9 MACs, 10^6 weights.
PARTS = """
attn.qkv 28.5380 111.48 | attn.out 9.5127 37.16 | mlp.up 38.0507 148.64 | mlp.down 38.0507 148.64
attn.qk 2.1139 0.00 | attn.av 2.1139 0.00 | adaln 0.2230 222.95 | final.linear 0.0094 0.04
embed.patch 0.0047 0.02 | final.adaln 0.0027 2.65 | embed.time 0.0016 1.62 | embed.label 0.0000 1.15
"""


def test_parts_of_dit_xl_2(xl):
    for row in PARTS.strip().replace("\n", " | ").split(" | "):
        kind, gmacs, millions = row.split()
        macs, weights = _part(_count(xl), kind)
        assert (f"{macs / 1e9:.4f}", f"{weights / 1e6:.2f}") == (gmacs, millions), kind


NAMES = ("uniform", "linear", "recommended", "attention_full", "adaln_quantized", "softmax_8")
TERA_BITOPS = {
    "FP": "30.367 29.223 30.367",
    "W8A8": "7.592 7.306 7.638 8.450 7.595 7.638",
    "W4A8": "3.796 3.653 3.985 4.797 3.935 3.985",
    "W6A6": "4.270 4.109 4.323 5.254 4.274 4.349",
    "W4A4": "1.898 1.826 1.956 2.971 1.902 1.990",
    "W3A3": "1.068 1.027 1.127 2.171 1.072 1.159",
}


@pytest.mark.parametrize("precision", TERA_BITOPS)
def test_every_convention_of_the_literature(xl, precision):
    totals = conventions(xl, Precision.parse(precision))
    assert tuple(totals) == NAMES
    printed = TERA_BITOPS[precision].split()
    assert [f"{totals[name] / 1e12:.3f}" for name in NAMES[: len(printed)]] == printed


def test_a_run_counts_adaln_at_its_bits_and_attention_at_16(xl):
    report = _count(xl, Precision(3, 3))
    totals = conventions(xl, Precision(3, 3))
    adaln, _ = _part(report, "adaln")
    products = totals["attention_full"] - adaln * (256 - 64)
    assert report.bitops_linear == totals["linear"]
    assert report.bitops == products + sum(report.overhead.values())
    quantized = _count(xl, Precision(3, 3), Precision(3, 3), attention_bits=3)
    assert quantized.bitops == totals["adaln_quantized"] + sum(quantized.overhead.values())
    papers = _count(xl, Precision(3, 3), rule="papers")
    assert papers.bitops == report.bitops_linear
    assert not any(papers.overhead.values())


G128 = {"granularity": "group", "group": 128, "symmetric": False}


@pytest.mark.parametrize(
    ("adaln", "fmt", "megabytes"),
    [
        (True, {}, {8: "681.8", 4: "347.3", 3: "263.7"}),
        (True, G128, {8: "696.5", 4: "359.4", 3: "275.2"}),
        (False, {}, {8: "904.3", 4: "681.4", 3: "625.7"}),
        (False, G128, {8: "914.2", 4: "689.5", 3: "633.3"}),
    ],
)
def test_sizes_of_dit_xl_2(xl, adaln, fmt, megabytes):
    for bits, printed in megabytes.items():
        precision = Precision(bits, bits)
        options = {"weight_format": WeightFormat(**fmt)}
        report = _count(xl, precision, precision if adaln else FULL, **options)
        assert f"{report.bytes / 1e6:.1f}" == printed


def test_dit_xl_2_512_against_a_formula_by_hand():
    d, tokens, blocks = 1152, 1024, 28
    block = tokens * 12 * d * d + 2 * tokens * tokens * d + 6 * d * d
    ends = tokens * (4 * 4 * d + d * 4 * 8) + 2 * d * d + 256 * d + d * d
    report = _count(_meta("dit-xl-2-512"))
    assert report.macs == blocks * block + ends
    assert report.parameters == 674_834_720
    assert report.bitops_linear == blocks * tokens * 12 * d * d * 16


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_small_models_against_the_flop_counter_of_torch(device):
    with torch.device(device):
        model = DiTTransformer2DModel.from_config(CONFIGURATIONS["dit-xl-2-256"] | SMALL)
        inputs = torch.zeros(1, 4, 8, 8), torch.zeros(1, dtype=torch.long)
        # Plain products: which kernels of fused attention are counted depends on the processor.
        plain = sdpa_kernel(SDPBackend.MATH)
        with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
            model.eval()(inputs[0], timestep=inputs[1], class_labels=inputs[1])
    # diffusers evaluates the time embedder in every block and once more: all but one are surplus.
    repeated = 3 * (256 * 16 + 16 * 16)
    assert counter.get_total_flops() // 2 == _count(model).macs + repeated


def test_parameters_are_those_of_the_model_without_duplicates():
    model = _meta(**SMALL, norm_elementwise_affine=True)
    duplicates = [
        p.numel()
        for name, p in model.named_parameters()
        if ".norm1.emb." in name and "blocks.0." not in name
    ]
    everything = sum(p.numel() for p in model.parameters())
    report = _count(model)
    assert sum(duplicates) == 2 * (256 * 16 + 16 + 16 * 16 + 16 + 1001 * 16)
    assert report.parameters == everything - sum(duplicates)
    assert _part(report, "norm")[0] == 0


def test_the_budget_is_met_to_the_last_bitop():
    model = _meta(**SMALL)
    report, groups = _count(model), layer_groups(model)

    def satisfied(report, text):
        budget = Budget.parse(text)
        return report.satisfied(budget, budget_limit(model, groups, budget))

    assert satisfied(report, "W4A4")
    assert not satisfied(report, "W3A5")
    assert satisfied(_count(model, FULL, FULL), "FP")
    assert satisfied(report, "W4A4:total")
    groups_of_16 = {"granularity": "group", "group": 16}
    assert satisfied(_count(model, weight_format=WeightFormat(**groups_of_16)), "W4A4")
    assert not satisfied(_count(model, weight_format=WeightFormat(**groups_of_16)), "W4A4:total")
    one = next(i for i, op in enumerate(report.operators) if op.searchable)
    rows = list(report.operators)
    rows[one] = replace(rows[one], weight_bits=5)
    assert not satisfied(replace(report, operators=tuple(rows)), "W4A4")


def test_extra_operators_count_at_their_own_bits_but_not_towards_the_budget():
    model = _meta(**SMALL)
    branch = Operator("branch", "branch", 1000, 16, 8, weights=30, scale_bytes=4)
    report, bare = _count(model, extra=(branch,)), _count(model)
    assert report.bitops - bare.bitops == 1000 * 128
    assert report.bytes - bare.bytes == 60 + 4
    assert report.bitops_linear == bare.bitops_linear
    assert report.parameters == bare.parameters
    assert report.effective_bits > bare.effective_bits
    with pytest.raises(BenchError, match="branch cannot be searchable"):
        _count(model, extra=(replace(branch, searchable=True),))


def test_sizes_are_rounded_up_per_layer_and_measured_grids_replace_derived_ones():
    odd = Operator("x", "x", 0, weight_bits=3, weights=3, biases=1, scale_bytes=2, zero_bytes=1)
    assert odd.bytes == 2 + 2 + 2 + 1
    model = _meta(**SMALL)
    path = "transformer_blocks.0.ff.net.2"
    report, bare = _count(model, storage={path: QParamBytes(100, 7)}), _count(model)
    assert report.bytes - bare.bytes == 107 - 16 * 2
    with pytest.raises(BenchError, match=r"proj_out_1, which is in no group"):
        _count(model, storage={"proj_out_1": QParamBytes(1, 1)})


def test_unknown_layers_are_refused():
    model = _meta(**SMALL)
    model.adapter = torch.nn.Linear(2, 2, device="meta")
    with pytest.raises(BenchError, match=r"adapter \(Linear\)"):
        _count(model)


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(cost, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_prints_everything_as_json():
    content = json.loads(_run("--model", "dit-xl-2-256", "--precision", "W4A4", "--json"))
    assert content["macs"] == 118_621_421_568
    assert f"{content['conventions']['recommended'] / 1e12:.3f}" == "1.956"
    assert content["adaln"] == "W8A8"
    assert content["bitops_per_image"] == content["bitops"] * 500
    assert content["bitops"] == sum(row["bitops"] for row in content["operators"])
    assert content["bytes"] == sum(row["bytes"] for row in content["operators"])


def test_the_command_shows_shares_of_a_local_pipeline(tiny_folder):
    text = _run("--model", str(tiny_folder), "--precision", "FP")
    for part in ("rtn at FP", "mlp.down", "effective bits 16.000"):
        assert part in text


def test_the_overhead_of_any_method_is_one_command():
    """The prices of docs/cost.md, for every MAC of the linear layers of DiT-XL/2."""
    command = ("--model", "dit-xl-2-256", "--method", "treeq", "--budget", "W3A3", "--json")
    found = json.loads(_run(*command))
    linear = found["bitops_linear"] / 9
    assert found["searched"]
    assert found["overhead"]["rescale"] / linear == pytest.approx(16.52, abs=0.01)
    assert found["bitops"] == sum(row["bitops"] for row in found["operators"])
    cores = json.loads(_run(*command, "--cost-rule", "microscaling"))
    # What is left are the channels and tokens of adaLN, which has groups of 32 too.
    assert cores["overhead"]["rescale"] == 0
    assert cores["overhead"]["zero_point"] == found["overhead"]["zero_point"]
    assert json.loads(_run(*command, "--cost-rule", "papers"))["bitops"] == found["bitops_linear"]


def test_what_is_counted_is_given_once():
    with pytest.raises(BenchError, match="give --budget, like W4A4, or --record"):
        _run("--model", "dit-xl-2-256")
    with pytest.raises(BenchError, match="has no precision to count at"):
        _run("--model", "dit-xl-2-256", "--budget", "2.5MB")


def test_a_record_of_an_older_rule_is_counted_again(mpqbench, tmp_path, tiny_folder):
    run = ["run", "smoke", "--model", tiny_folder, "--features", "none", "--images", 8,
           "--steps", 2, "--micro-batch", 8, "--method", "quarot", "--budget", "W4A4"]  # fmt: skip
    assert mpqbench(*run, "--out", tmp_path / "out")[0] == 0
    store = RecordStore(tmp_path / "out")
    (record,) = (r for r in store.read_all() if r.method == "quarot")
    old = {"overhead": {}, "cost_rule": None, "bitops": 1000, "bitops_per_image": 1000 * 2 * 2}
    store.write(record.model_copy(update={"costs": record.costs.model_copy(update=old)}))
    code, text = mpqbench("verify", tmp_path / "out")[:2]
    assert "counted by an older rule" in text
    code, text = mpqbench("recount", tmp_path / "out")[:2]
    assert (code, "1 records counted again" in text) == (0, True), text
    again = store.read(record.job)
    assert again.costs.before.model_dump() == {
        "rule": "macs", "bitops": 1000, "bitops_per_image": 4000
    }  # fmt: skip
    assert again.costs.model_copy(update={"before": None}) == record.costs
    assert again.model_copy(update={"costs": record.costs}) == record
    assert mpqbench("verify", tmp_path / "out")[0] == 0
    path = store.record_path(record.job)
    of_record = json.loads(_run("--model", str(tiny_folder), "--record", str(path), "--json"))
    assert of_record["overhead"] == record.costs.overhead
    with pytest.raises(BenchError, match="leave --attention-bits out"):
        _run("--model", str(tiny_folder), "--record", str(path), "--attention-bits", "4")
    path.write_text("{}")
    assert mpqbench("recount", tmp_path / "out")[0] == 2
