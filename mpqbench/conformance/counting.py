"""Counts what a transform or a branch executes and reads, operation by operation."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Function = Callable[[torch.Tensor], torch.Tensor]

_LEFT_OPERAND = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "linear": 0, "addmm": 1, "baddbmm": 1,
                 "addmv": 1}  # fmt: skip
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
    """Counts the MACs executed while inside, and collects the tensors read from outside.

    A matrix product of (m, k) and (k, n) counts m k n, with a sparse matrix its stored values times
    n; ``products`` are of these alone. Other arithmetic counts each number of its largest operand
    or result once, and moving numbers counts nothing. ``given`` is the input, which is not among
    ``read``.
    """

    def __init__(self, given: torch.Tensor) -> None:
        super().__init__()
        self.macs = self.products = 0
        self.read: list[torch.Tensor] = []
        self._known = {_storage(given)}
        self._alive: list[Any] = []  # a freed intermediate's address could come again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        inputs = _tensors((args, kwargs))
        new = {_storage(tensor): tensor.detach() for tensor in reversed(inputs)}
        self.read += [tensor for at, tensor in new.items() if at not in self._known]
        result = func(*args, **(kwargs or {}))
        outputs = _tensors(result)
        self._known.update(new, map(_storage, outputs))
        self._alive.append(result)
        product = _product(func, args, outputs)
        self.products += product
        self.macs += product or _elementwise(func, [*inputs, *outputs])
        return result


def macs_per_row(function: Function, rows: torch.Tensor, *, products_only: bool = False) -> float:
    """Return the MACs of ``function`` for one more row, from half and from all of ``rows``."""
    half = len(rows) // 2
    runs = [_run(function, rows[:n]) for n in (half, len(rows))]
    few, many = (run.products if products_only else run.macs for run in runs)
    return (many - few) / (len(rows) - half)


def read_tensors(function: Function, rows: torch.Tensor) -> list[torch.Tensor]:
    """Return the tensors that ``function`` reads beside ``rows``, wherever they are kept."""
    return _run(function, rows).read


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


def _run(function: Function, rows: torch.Tensor) -> Executed:
    given = rows.clone()
    with torch.no_grad(), Executed(given) as executed:
        function(given)
    return executed


def _product(func: Any, args: Any, outputs: list[torch.Tensor]) -> int:
    """Return the MACs of a matrix product, 0 for anything else."""
    name = func.overloadpacket.__name__
    if name in _SPARSE:
        return args[_SPARSE[name]]._nnz() * outputs[0].shape[-1]
    if name in _LEFT_OPERAND:
        return outputs[0].numel() * args[_LEFT_OPERAND[name]].shape[-1]
    if name == "convolution":
        return outputs[0].numel() * (args[1].numel() // args[1].shape[0])
    return 0


def _elementwise(func: Any, tensors: list[torch.Tensor]) -> int:
    if func.is_view or func.overloadpacket.__name__ in _MOVES:
        return 0
    return max((t.numel() for t in tensors if t.is_floating_point()), default=0)


def _tensors(tree: Any) -> list[torch.Tensor]:
    """Return the dense tensors of ``tree``; a sparse one is counted through its parts."""
    leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
    return [leaf for leaf in leaves if leaf.layout == torch.strided]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
