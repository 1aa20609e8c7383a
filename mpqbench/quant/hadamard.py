"""Hadamard matrices for many widths, and fast products with them (Walsh-Hadamard transform).

A Hadamard matrix H of order n has entries +1 and -1 and ``H H^T = n I``. Powers of two come from
Sylvester's doubling, which needs n log2(n) additions; the small orders that are not powers of two
from Paley's two constructions (J. Math. Phys. 12, 1933), which need a small dense product.
"""

from typing import Any

import torch

from ..core.errors import BenchError
from ..core.formats import divisors
from ..dit import native

# Every order 4 m with m odd up to 84 that a Paley construction over a prime field gives.
SMALL_ORDERS = (12, 20, 28, 36, 44, 60, 68, 76, 84)
_OF_SECOND = (28, 36, 76)  # of the second construction, the others of the first


def split_order(order: int) -> tuple[int, int] | None:
    """Return a power of two and 1 or a small order whose product is ``order``, if there are any."""
    for small in (1, *SMALL_ORDERS):
        power, rest = divmod(order, small)
        if rest == 0 and power > 0 and power.bit_count() == 1:
            return power, small
    return None


def blocks_of(width: int) -> list[int]:
    """Return the orders of Hadamard matrices that divide ``width``, ascending, from 1 on."""
    return [order for order in divisors(width) if split_order(order)]


def paley(order: int) -> torch.Tensor:
    """Return a Hadamard matrix (order, order) float32 of one of ``SMALL_ORDERS``.

    Paley's first construction needs a prime ``q = order - 1``, the second a prime
    ``q = order / 2 - 1``. Raises BenchError for another order.
    """
    if order not in SMALL_ORDERS:
        raise BenchError(f"no Paley construction over a prime field gives order {order}")
    if order not in _OF_SECOND:
        return _conference(order - 1, corner=-1.0) + torch.eye(order)
    entry = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    diagonal = torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
    whole = torch.kron(_conference(order // 2 - 1, corner=1.0), entry)
    return whole + torch.kron(torch.eye(order // 2), diagonal)


def _conference(prime: int, corner: float) -> torch.Tensor:
    """Return C (q + 1, q + 1) with zero diagonal, entries +-1 and ``C C^T = q I``."""
    squares = {n * n % prime for n in range(1, prime)}
    character = torch.tensor([0.0] + [1.0 if n in squares else -1.0 for n in range(1, prime)])
    index = torch.arange(prime)
    matrix = torch.zeros(prime + 1, prime + 1)
    matrix[0, 1:] = 1.0
    matrix[1:, 0] = corner
    matrix[1:, 1:] = character[(index[:, None] - index) % prime]
    return matrix


def hadamard_product(
    x: torch.Tensor, signs: torch.Tensor, power: int, small: torch.Tensor | None
) -> torch.Tensor:
    """Return ``(x * signs) @ (H kron S)`` for every block of x (..., width), differentiable.

    H is Sylvester's matrix of order ``power``, S is ``small`` (order, order), or 1 where it is
    ``None``; ``power * order`` divides ``width``. ``signs`` (width,) may carry the normalisation.
    For each row this does ``width`` multiplications, ``width * log2(power)`` additions and, with
    ``small``, another ``width * order`` multiplications. Works in float32 or the wider type of x.
    """
    if not x.numel():
        return x
    dtype = torch.promote_types(x.dtype, signs.dtype)
    rows = x.to(dtype).reshape(-1, x.shape[-1])
    matrix = None if small is None else small.to(dtype)
    return _Product.apply(rows, signs.to(dtype), power, matrix).reshape(x.shape)


class _Product(torch.autograd.Function):
    """The product on x (rows, width), a function of its own so that it can reuse its buffers."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, signs: torch.Tensor, power: int, small: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(signs, small)
        ctx.power = power
        if small is None and power >= native.LANES and native.takes(x, x.shape[1]):
            return native.hadamard_rows(x, signs, power)
        values = x * signs
        if small is not None:
            values = values.view(-1, len(small)) @ small
        inner = 1 if small is None else len(small)
        return _butterfly(values, torch.empty_like(values), power, inner).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        signs, small = ctx.saved_tensors
        transposed = None if small is None else small.T
        # Sylvester's matrix is its own transpose.
        product = _Product.apply(grads[0], torch.ones_like(signs), ctx.power, transposed)
        return product * signs, None, None, None


def _butterfly(source: torch.Tensor, spare: torch.Tensor, power: int, inner: int) -> torch.Tensor:
    """Multiply the middle axis of ``source``, seen as (outer, power, inner), by Sylvester's matrix.

    There are log2(power) stages of sums and differences, to and fro between both buffers. Returns
    the buffer that holds the result.
    """
    for stage in range(power.bit_length() - 1):
        pairs = (-1, 2, inner << stage)
        left, right = source.view(pairs).unbind(1)
        total, difference = spare.view(pairs).unbind(1)
        torch.add(left, right, out=total)
        torch.sub(left, right, out=difference)
        source, spare = spare, source
    return source
