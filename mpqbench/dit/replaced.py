"""Functions in the place of forwards and of attention products, for the time of a context."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode


@contextmanager
def replaced_forwards(pairs: Sequence[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Let modules run other functions in place of their forwards while inside."""
    with ExitStack() as stack:
        for module, function in pairs:
            own = vars(module)  # set there: a function that is a module must not become a part
            before = own.get("forward")
            own["forward"] = function
            undo = partial(own.pop, "forward")
            stack.callback(undo if before is None else partial(own.update, forward=before))
        yield


class _ReplacedAttention(TorchFunctionMode):
    """Calls ``attend`` in place of PyTorch's scaled dot-product attention."""

    def __init__(self, attend: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.attend = attend

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_attention = func is F.scaled_dot_product_attention
        return (self.attend if is_attention else func)(*args, **(kwargs or {}))


def replaced_attention(attend: Callable[..., torch.Tensor]) -> AbstractContextManager[Any]:
    """Have ``attend`` take the place of PyTorch's scaled dot-product attention while inside."""
    return nullcontext() if attend is F.scaled_dot_product_attention else _ReplacedAttention(attend)
