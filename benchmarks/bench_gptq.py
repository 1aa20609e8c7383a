"""Our GPTQ against the plain column loop, and a block of DiT-XL/2 with it.

The plain loop is the algorithm as printed in the paper: every column updates all remaining columns.
Both use the same moment, damping, grid and column order on the same device and threads.
MPQBENCH_DEVICE chooses the device, by default a GPU where there is one.
"""

import os
import resource

import pytest
import torch

from mpqbench.baselines.roundings.gptq import GPTQ
from mpqbench.contracts import LayerData
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import minmax_qparams

DEVICE = os.environ.get("MPQBENCH_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
BITS, FORMAT = 4, WeightFormat(symmetric=False)
SHAPES = [(1152, 1152), (4608, 1152), (1152, 4608)]  # (out, in)
BLOCK = {"q, k, v, out": (4, 1152, 1152), "up": (1, 4608, 1152), "down": (1, 1152, 4608)}
BLOCKS = 28


def layer(out_features: int, in_features: int) -> tuple[torch.Tensor, LayerData]:
    """Make a random weight and the moment of correlated rows, on the device."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(out_features, in_features, generator=generator)
    rows = torch.randn(2 * in_features, in_features, generator=generator).to(DEVICE)
    rows[:, 1:] += rows[:, :-1]
    moment = rows.T @ rows / len(rows)
    data = LayerData("layer", in_features, out_features, moment=moment)
    return weight.to(DEVICE), data


@torch.no_grad()
def ours(weight: torch.Tensor, data: LayerData) -> torch.Tensor:
    """Round with our GPTQ, columns in their own order and without the safeguard."""
    rounding = GPTQ(act_order=False, safeguard=False)
    return _done(rounding.round(weight, data, FORMAT, BITS).integers)


@torch.no_grad()
def complete(weight: torch.Tensor, data: LayerData) -> torch.Tensor:
    """Round with our GPTQ and its defaults: activation order and safeguard."""
    return _done(GPTQ().round(weight, data, FORMAT, BITS).integers)


@torch.no_grad()
def plain_loop(weight: torch.Tensor, data: LayerData) -> torch.Tensor:
    """Round with the plain column loop."""
    grid = minmax_qparams(weight, FORMAT, BITS, data.name)
    scale, zero = grid.scale[:, 0, 0], grid.zero[:, 0, 0]
    hessian = data.moment + 0.01 * data.moment.diagonal().mean() * torch.eye(
        len(data.moment), device=weight.device
    )
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left, integers = weight.clone(), torch.empty_like(weight)
    for k in range(weight.shape[1]):
        column = left[:, k].clone()
        integers[:, k] = torch.clamp(torch.round(column / scale) + zero, 0, grid.highest)
        error = (column - scale * (integers[:, k] - zero)) / factor[k, k]
        left[:, k:] -= torch.outer(error, factor[k, k:])
    return _done(integers.to(torch.int16))


def _done(result: torch.Tensor) -> torch.Tensor:
    if result.is_cuda:
        torch.cuda.synchronize()
    return result


@pytest.mark.parametrize("method", [plain_loop, ours, complete], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
def bench_one_layer(benchmark, shape, method):
    weight, data = layer(*shape)
    benchmark.group = f"GPTQ, weight {shape[0]}x{shape[1]}"
    benchmark.extra_info |= {"device": DEVICE, "threads": torch.get_num_threads()}
    rounds = 1 if method is plain_loop else 3
    result = benchmark.pedantic(method, (weight, data), rounds=rounds, warmup_rounds=rounds // 2)
    if method is ours and shape == SHAPES[0]:
        # The same algorithm, so all but a few ties must agree; once is enough, the loop is slow.
        assert (result != plain_loop(weight, data)).float().mean() < 1e-2


@pytest.mark.benchmark(group="GPTQ, one block of DiT-XL/2")
def bench_dit_xl_block(benchmark):
    layers = [layer(*shape) for _, *shape in BLOCK.values()]
    counts = [count for count, *_ in BLOCK.values()]
    before = _peak_mib()

    def block() -> None:
        for count, (weight, data) in zip(counts, layers, strict=True):
            for _ in range(count):
                complete(weight, data)

    benchmark.pedantic(block, rounds=1)
    seconds = benchmark.stats.stats.total
    benchmark.extra_info |= {
        "device": DEVICE,
        "threads": torch.get_num_threads(),
        "seconds for 28 blocks": round(seconds * BLOCKS, 1),
        "peak MiB": round(_peak_mib()),
        "peak MiB before": round(before),
    }


def _peak_mib() -> float:
    """Return the highest memory so far, of the GPU's tensors or of this process, in MiB."""
    if DEVICE.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
