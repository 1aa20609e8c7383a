"""Counts what a transform, a branch or a correction executes and holds."""

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


_ADDITIONS = {
    "abs", "add", "amax", "amin", "aminmax", "ceil", "clamp", "clamp_max", "clamp_min", "cumsum",
    "eq", "floor", "ge", "gt", "le", "lt", "max", "maximum", "min", "minimum", "ne", "round",
    "rsub", "sub", "sum", "where",
}  # fmt: skip


class Executed(TorchDispatchMode):
    """Counts the multiplications and the additions executed while inside.

    A matrix product of (m, k) and (k, n) counts m k n multiplications, each with its addition, with
    a sparse matrix its stored values times n; ``products`` are of these alone. Other arithmetic
    counts each number of its largest operand or result once: as additions where nothing else is
    done to it, and else as multiplications. A product with a tensor of signs, +1 and -1 alone,
    changes signs and adds: a matrix product then counts additions, and any other nothing. Moving
    numbers counts nothing.
    """

    multiplications = additions = products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        with self:  # in inference mode, operations made of others arrive as one
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        result = func(*args, **(kwargs or {}))
        outputs = _tensors(result)
        if product := _product(func, args, outputs):
            if any(_are_signs(operand) for operand in _tensors(args)):
                self.additions += product
            else:
                self.products += product
                self.multiplications += product
            return result
        numbers, name = _elementwise(func, [*_tensors((args, kwargs)), *outputs]), _name(func)
        if name in _ADDITIONS and (kwargs or {}).get("alpha", 1) in (1, -1):
            self.additions += numbers
        elif name != "mul" or not any(_are_signs(operand) for operand in _tensors(args)):
            self.multiplications += numbers
        return result


def operations_per_row(
    function: Function, rows: torch.Tensor, *, products_only: bool = False
) -> tuple[float, float]:
    """Return the multiplications and additions of ``function`` for one more row.

    They are the difference of what half and all of ``rows`` take.
    """
    half, counts = len(rows) // 2, []
    for part in (rows[:half], rows):
        with torch.no_grad(), Executed() as executed:
            function(part.clone())
        counts.append((executed.multiplications, executed.additions))
        if products_only:
            counts[-1] = (executed.products, 0)
    (few, less), (many, more) = counts
    return (many - few) / (len(rows) - half), (more - less) / (len(rows) - half)


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


def _name(func: Any) -> str:
    """Return the name of an operation, the same where it works in place."""
    return func.overloadpacket.__name__.removesuffix("_")


def _are_signs(tensor: torch.Tensor) -> bool:
    floats = tensor.is_floating_point() and tensor.numel() > 1
    return floats and bool((tensor.abs() == 1).all())


def _elementwise(func: Any, tensors: list[torch.Tensor]) -> int:
    if func.is_view or func.overloadpacket.__name__ in _MOVES or _name(func) == "neg":
        return 0
    return max((t.numel() for t in tensors if t.is_floating_point()), default=0)


def _tensors(tree: Any) -> list[torch.Tensor]:
    """Return the dense tensors of ``tree``; a sparse one is counted through its parts."""
    leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
    return [leaf for leaf in leaves if leaf.layout == torch.strided]
