"""Counts what a transform or a branch executes and holds."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Function = Callable[[torch.Tensor], torch.Tensor]

_SPARSE = {"_sparse_mm": 0, "_sparse_addmm": 1}
_MOVES = {
    "_coalesced_", "_sparse_coo_tensor_with_dims_and_tensors", "_sparse_coo_tensor_unsafe",
    "_to_copy", "_unsafe_view", "arange", "bitwise_and", "cat", "clone", "constant_pad_nd",
    "copy", "copy_", "empty", "empty_like", "fill_", "flip", "full", "full_like", "gather",
    "index", "index_copy", "index_put", "index_put_", "index_select", "lift_fresh", "new_empty",
    "new_full", "new_ones", "new_zeros", "ones", "ones_like", "repeat", "roll", "scalar_tensor",
    "scatter", "select_scatter", "slice_scatter", "stack", "take", "zero_", "zeros", "zeros_like",
}  # fmt: skip


class Executed(TorchDispatchMode):
    """Counts the MACs executed while inside.

    A matrix product of (m, k) and (k, n) counts m k n, with a sparse matrix its stored values times
    n; ``products`` are of these alone. Other arithmetic counts each number of its largest operand
    or result once, and moving numbers counts nothing.
    """

    macs = products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        result = func(*args, **(kwargs or {}))
        outputs = _tensors(result)
        product = _product(func, args, outputs)
        self.products += product
        self.macs += product or _elementwise(func, [*_tensors((args, kwargs)), *outputs])
        return result


def macs_per_row(function: Function, rows: torch.Tensor, *, products_only: bool = False) -> float:
    """Return the MACs of ``function`` for one more row, from half and from all of ``rows``."""
    half, counts = len(rows) // 2, []
    for part in (rows[:half], rows):
        with torch.no_grad(), Executed() as executed:
            function(part.clone())
        counts.append(executed.products if products_only else executed.macs)
    return (counts[1] - counts[0]) / (len(rows) - half)


def held_tensors(fitted: Any) -> list[torch.Tensor]:
    """Return the tensors among the attributes of an object, for a module also of its parts."""
    objects = fitted.modules() if isinstance(fitted, nn.Module) else [fitted]
    leaves = (leaf for each in objects for leaf in tree_leaves(vars(each)))
    return list({id(leaf): leaf for leaf in leaves if isinstance(leaf, torch.Tensor)}.values())


def information_bits(tensor: torch.Tensor) -> int:
    """Return the bits that ``tensor`` takes at least.

    Numbers of one magnitude (signs) take 1 bit each, other floats 16, and integers as many as the
    largest.
    """
    numbers = min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())
    if tensor.dtype == torch.bool:
        return numbers
    magnitudes = tensor.abs()
    if not tensor.is_floating_point():
        return numbers * max(1, math.ceil(math.log2(int(magnitudes.max()) + 1)))
    return numbers * (1 if len(magnitudes.unique()) == 1 else 16)


def _product(func: Any, args: Any, outputs: list[torch.Tensor]) -> int:
    """Return the MACs of a matrix product, 0 for anything else."""
    name = func.overloadpacket.__name__
    if name in _SPARSE:
        return args[_SPARSE[name]]._nnz() * outputs[0].shape[-1]
    if name in ("mv", "dot"):
        return args[0].numel()
    flops = flop_registry.get(func.overloadpacket)  # two for each MAC
    return 0 if flops is None else flops(*args, out_val=outputs[0]) // 2


def _elementwise(func: Any, tensors: list[torch.Tensor]) -> int:
    if func.is_view or func.overloadpacket.__name__ in _MOVES:
        return 0
    return max((t.numel() for t in tensors if t.is_floating_point()), default=0)


def _tensors(tree: Any) -> list[torch.Tensor]:
    """Return the dense tensors of ``tree``; a sparse one is counted through its parts."""
    leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
    return [leaf for leaf in leaves if leaf.layout == torch.strided]
