"""Time of a 16-bit Monarch branch against a low-rank branch with as many parameters.

One forward of a few images at the shapes of DiT-XL/2, beside a forward of the layer itself. Factors
are random, as their values do not affect the time. All arithmetic is in float32, as in the harness;
16 bits mean that nothing is quantized between the products. The ratio is one of medians, with the
two branches called in turn, so that other load affects both. MPQBENCH_DEVICE chooses the device, by
default a GPU where there is one. WIDTH, TOKENS and IMAGES make the benchmark smaller.
"""

import os
import statistics
import time

import pytest
import torch

from mpqbench.quant.factors import BlockFactors, BlockPartition, bits_of_rank, largest_grid

DEVICE = os.environ.get("MPQBENCH_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
WIDTH = int(os.environ.get("WIDTH", "1152"))
TOKENS = int(os.environ.get("TOKENS", "256"))
IMAGES = int(os.environ.get("IMAGES", "4"))
LAYERS = {"attn.out": (1, 1), "attn.qkv": (3, 1), "mlp.up": (4, 1), "mlp.down": (1, 4)}  # (out, in)
RANKS, BITS, ROUNDS = (8, 32), 16, 30


def branch(grid: BlockPartition) -> BlockFactors:
    """Make random blocks of the partition ``grid``."""
    generator = torch.Generator().manual_seed(0)
    s, p = grid.block
    left = torch.randn(grid.rows, s, grid.columns * grid.kept, generator=generator)
    right = torch.randn(grid.columns, grid.rows * grid.kept, p, generator=generator)
    return BlockFactors(left, right, grid, BITS).to(DEVICE)


def rivals(out: int, width: int, rank: int) -> dict[str, torch.nn.Module]:
    """Make both branches and the layer; Monarch has the most terms in the low rank's bytes."""
    monarch = largest_grid(BlockPartition(out, width), BITS, bits_of_rank(out, width, rank, BITS))
    return {
        "low-rank": branch(BlockPartition(out, width, rank=rank)),
        "monarch": branch(monarch),
        "layer": torch.nn.Linear(width, out, bias=False, device=DEVICE),
    }


@torch.inference_mode()
def forward(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = module(x)
    if y.is_cuda:
        torch.cuda.synchronize()
    return y


def ratio(first: torch.nn.Module, second: torch.nn.Module, x: torch.Tensor) -> float:
    """Return the median seconds of ``first`` over those of ``second``, called in turn."""
    seconds: dict[torch.nn.Module, list[float]] = {first: [], second: []}
    for _ in range(ROUNDS):
        for module, own in seconds.items():
            start = time.perf_counter()
            forward(module, x)
            own.append(time.perf_counter() - start)
    return statistics.median(seconds[first]) / statistics.median(seconds[second])


@pytest.mark.parametrize("name", ["low-rank", "monarch", "layer"])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", LAYERS)
def bench_forward(benchmark, kind, rank, name):
    out, width = (WIDTH * times for times in LAYERS[kind])
    benchmark.group = f"{kind} {out}x{width}, rank {rank}"
    modules = rivals(out, width, rank)
    x = torch.randn(IMAGES, TOKENS, width, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    module = modules[name]
    y = benchmark.pedantic(forward, (module, x), rounds=ROUNDS, warmup_rounds=3)
    benchmark.extra_info |= {"device": DEVICE, "threads": torch.get_num_threads()}
    if name == "layer":
        return
    assert torch.allclose(y, x @ module.dense().T, rtol=1e-3, atol=1e-3 * float(y.std()))
    benchmark.extra_info["numbers"] = module.size.numbers
    if name == "monarch":
        equal = modules["low-rank"]
        assert 0.85 < module.size.numbers / equal.size.numbers <= 1
        benchmark.extra_info["grid"] = f"{module.grid.rows}x{module.grid.columns}"
        benchmark.extra_info["time of low-rank"] = round(ratio(module, equal, x), 2)
        print(f"\n{benchmark.group}: monarch {module.grid.rows}x{module.grid.columns} takes "
              f"{benchmark.extra_info['time of low-rank']} of low-rank's time")  # fmt: skip
