"""Process memory: keep large freed blocks for the next forward."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt(3)


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory instead of returning it to the system.

    Every layer of a forward on a CPU allocates its output. By default glibc maps large blocks one
    by one and unmaps freed ones, so that each block costs page faults again: a quarter of the time
    of a quantized forward of the embedded model (``benchmarks/``). No number changes. Returns False
    where the C library is not glibc and nothing was done.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_MMAP_THRESHOLD, 2**30))
