"""Process memory: keep large freed blocks for the next forward."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt(3)


def keep_freed_memory() -> None:
    """Ask the C library, where it is glibc, to keep freed memory.

    Every layer of a forward on a CPU allocates its output. By default glibc maps large blocks one
    by one and unmaps freed ones, so that each block costs page faults again: a quarter of the time
    of a quantized forward of the embedded model (``benchmarks/``). No number changes.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**30)
