"""The kernels of ``kernels.cpp``, which do on a processor what torch's operations do, faster.

The numbers are the same, so nothing depends on whether the kernels were built; building needs a C++
compiler when mpqbench is installed. They work on one thread.
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
_ARGUMENTS = {
    "fake_quantize_rows": [_POINTER] * 2 + [_WHOLE] * 2 + [_FLOAT] * 4,
    "hadamard_rows": [_POINTER] * 3 + [_WHOLE] * 3,
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
        and torch.get_num_threads() <= MOST_THREADS
        and library() is not None
    )


def fake_quantize_rows(
    x: torch.Tensor, steps: float, highest: int | None, scales: tuple[float, float]
) -> torch.Tensor | None:
    """Return ``x`` (..., width), that ``takes`` allows, with each row rounded within its own range.

    A range has ``steps`` steps, asymmetric, or symmetric with integers up to ``highest``. ``None``
    where a number is not finite or a scale not between ``scales``.
    """
    kernels, out, width = library(), torch.empty_like(x), x.shape[-1]
    assert kernels is not None
    end = -1 if highest is None else highest
    failed = kernels.fake_quantize_rows(
        x.data_ptr(), out.data_ptr(), x.numel() // width, width, steps, end, *scales
    )
    return None if failed else out


def hadamard_rows(x: torch.Tensor, signs: torch.Tensor, power: int) -> torch.Tensor:
    """Return ``x`` (rows, width), that ``takes`` allows, times Sylvester's matrix block by block.

    ``signs`` (width,) float32 multiply each row before; the order is ``power``, at least ``LANES``.
    """
    kernels, out, signs = library(), torch.empty_like(x), signs.contiguous()
    assert kernels is not None
    kernels.hadamard_rows(x.data_ptr(), signs.data_ptr(), out.data_ptr(), *x.shape, power)
    return out
