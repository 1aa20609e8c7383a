"""Work whose result must not depend on the number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import BenchError


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one torch thread while inside, and with as many as before afterwards.

    More threads add partial sums in another order, and a rounding that goes from column to column
    turns a last bit into other integers. Raises BenchError where the number was changed inside.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
        if torch.get_num_threads() != 1:
            raise BenchError(
                f"a plugin set the number of torch threads to {torch.get_num_threads()}: plugins "
                "must leave it alone"
            )
    finally:
        torch.set_num_threads(threads)
