"""The kernels of ``kernels.cpp``, which do on a processor what torch's operations do, faster.

Building them needs a C++ compiler when mpqbench is installed. Those of quantization give the same
numbers as torch's operations, so that nothing depends on whether they were built; the others are
used only where a protocol asks for them. They work on one thread.
"""

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode

LANES = 16  # numbers that a kernel takes at once; widths are multiples
MOST_THREADS = 4  # with more, torch's operations are as fast

_POINTER, _WHOLE, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float


class RowGrid(ctypes.Structure):
    """What rows are rounded to: the steps of a range, the largest integer, and the ends of scales.

    The steps are those of the larger side where the range is symmetric; where it is asymmetric, the
    largest integer is -1.
    """

    _fields_ = [(name, _FLOAT) for name in ("steps", "highest", "least_scale", "most_scale")]


_ARGUMENTS = {
    "fake_quantize_rows": [_POINTER] * 2 + [_WHOLE] * 2 + [RowGrid],
    "hadamard_rows": [_POINTER] * 3 + [_WHOLE] * 3,
    "gelu_rows": [_POINTER] * 2 + [_WHOLE],
    "norm_rows": [_POINTER] * 4 + [_WHOLE] * 4 + [_FLOAT],
    "gated_rows": [_POINTER] * 4 + [_WHOLE] * 4,
}


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels, ``None`` where they were not built."""
    paths = (Path(__file__).with_name(f"_kernels{suffix}") for suffix in EXTENSION_SUFFIXES)
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return None
    found = ctypes.CDLL(str(path))
    for name, arguments in _ARGUMENTS.items():
        getattr(found, name).argtypes = arguments
    return found


def takes(x: torch.Tensor, width: int) -> bool:
    """Return whether kernels may work on rows of ``width`` numbers of ``x``, and are faster."""
    return torch.get_num_threads() <= MOST_THREADS and fits(x, width)


def fits(x: torch.Tensor, width: int) -> bool:
    """Return whether kernels may work on rows of ``width`` numbers of ``x``.

    They may not where torch has to see each operation: for gradients, compilation and counting.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and width % LANES == 0
        and x.numel() > 0
        and x.is_contiguous()
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
        and _get_current_dispatch_mode() is None
        and library() is not None
    )


def fake_quantize_rows(
    x: torch.Tensor, grid: RowGrid, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Return ``x`` (..., width), that ``takes`` allows, with each row rounded within its own range.

    ``out`` may be ``x`` itself.
    """
    out, width = torch.empty_like(x) if out is None else out, x.shape[-1]
    _built().fake_quantize_rows(x.data_ptr(), out.data_ptr(), x.numel() // width, width, grid)
    return out


def hadamard_rows(x: torch.Tensor, signs: torch.Tensor, power: int) -> torch.Tensor:
    """Return ``x`` (rows, width), that ``takes`` allows, times Sylvester's matrix block by block.

    ``signs`` (width,) float32 multiply each row before; the order is ``power``, at least ``LANES``.
    """
    out, signs = torch.empty_like(x), signs.contiguous()
    _built().hadamard_rows(x.data_ptr(), signs.data_ptr(), out.data_ptr(), *x.shape, power)
    return out


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Return GELU, in its approximation by tanh, of ``x`` (..., width) that ``fits``."""
    out = torch.empty_like(x)
    _built().gelu_rows(x.data_ptr(), out.data_ptr(), x.numel())
    return out


def modulated_norm(
    x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """Return the normalised rows of ``x`` (images, tokens, width), times scale and plus shift.

    ``x`` must fit. Both others are (images, 1, width), parts of one tensor.
    """
    out = torch.empty_like(x)
    pointers = (part.data_ptr() for part in (x, scale, shift, out))
    _built().norm_rows(*pointers, *x.shape, scale.stride(0), epsilon)
    return out


def gated_sum(x: torch.Tensor, gate: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """Return ``residual + gate x`` of two tensors (images, tokens, width) that fit.

    ``gate`` is (images, 1, width).
    """
    out = torch.empty_like(x)
    pointers = (part.data_ptr() for part in (x, gate, residual, out))
    _built().gated_rows(*pointers, *x.shape, gate.stride(0))
    return out


def _built() -> ctypes.CDLL:
    found = library()
    assert found is not None, "the caller asks fits() before"
    return found
