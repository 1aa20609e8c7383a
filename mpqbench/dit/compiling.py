"""The forward of a transformer through torch.compile."""

from functools import partial
from typing import Any

import torch

from ..core.errors import BenchError
from .architecture import Forward
from .architectures import architecture_of
from .replaced import replaced_forwards


def compiled_forward(transformer: Any) -> Forward:
    """Return the forward of a transformer that does not change, compiled at its first call.

    What was compiled before is dropped: torch compiles a few versions of one function and runs
    further ones uncompiled without a word. The first call raises BenchError where torch cannot
    compile.
    """
    torch.compiler.reset()
    compiled = torch.compile(transformer.forward, dynamic=False)
    return partial(_forward, transformer, compiled)


@torch.no_grad()
def _forward(transformer: Any, compiled: Any, *given: torch.Tensor) -> torch.Tensor:
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    with replaced_forwards([(transformer, compiled)]):
        try:
            return architecture_of(transformer).forward(transformer, *given)
        except (InductorError, TorchDynamoException) as error:
            first = str(error).strip().partition("\n")[0]
            raise BenchError(
                f"--compile: torch cannot compile the transformer ({first}): install a C++ "
                "compiler, or leave the option out"
            ) from error
