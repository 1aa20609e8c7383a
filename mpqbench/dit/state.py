"""The state of a model in full precision, which every job must leave as it was."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

_PARTS = ("_parameters", "_buffers", "_modules")
_PLAIN = (bool, int, float, str, type(None))


class ModelState:
    """Modules, tensors and settings of a network, to be compared later.

    Of a tensor the SHA-256 of its bytes is kept: about 2.5 s for each GB.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        self.network, self.name = network, name
        self.accept_settings()
        self.tensors = {path: tensor_digest(value) for path, value in _tensors(network).items()}

    def accept_settings(self) -> None:
        """Take modules and settings as they are now, and keep the digests of tensors."""
        self.modules = {path: _facts(module) for path, module in self.network.named_modules()}

    def changes(self) -> Iterator[str]:
        """Yield a name for each thing that is not as it was, such as ``layer PATH: its weight``."""
        modules, tensors = dict(self.network.named_modules()), _tensors(self.network)
        for path in sorted(modules.keys() ^ self.modules.keys()):
            yield f"layer {path} of {self.name}: the module"
        for path, module in modules.items():
            now, before = _facts(module), self.modules.get(path, {})
            for name in sorted(now.keys() | before.keys()) if before else ():
                if now.get(name) != before.get(name):
                    yield f"{_place(path, self.name)}: its {_SAID.get(name, name)}"
        for path in sorted(tensors.keys() | self.tensors.keys()):
            if path not in tensors or tensor_digest(tensors[path]) != self.tensors.get(path):
                layer, _, name = path.rpartition(".")
                yield f"{_place(layer, self.name)}: its {name}"


_SAID = {
    "_forward_hooks": "forward hooks",
    "_forward_pre_hooks": "forward hooks",
    "_backward_hooks": "backward hooks",
    "_backward_pre_hooks": "backward hooks",
    "training": "training mode",
}


def tensor_digest(tensor: torch.Tensor) -> str:
    """Return the digest of type, shape, need for a gradient and bytes of a tensor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest = hashlib.sha256(flat.numpy().data)
    traces = tensor.requires_grad, tensor.grad is not None
    digest.update(repr((tensor.dtype, tuple(tensor.shape), traces)).encode())
    return digest.hexdigest()


def _tensors(network: nn.Module) -> Mapping[str, torch.Tensor]:
    return dict([*network.named_parameters(), *network.named_buffers()])


def _place(path: str, network: str) -> str:
    return f"layer {path}" if path else f"the {network}"


def _facts(module: nn.Module) -> dict[str, Any]:
    """Return the identity of a module and of its attributes, plain values as they are."""
    own = {name: value for name, value in vars(module).items() if name not in _PARTS}
    facts = {name: _fact(value) for name, value in own.items()}
    return {"module": id(module), "class": type(module).__qualname__} | facts


def _fact(value: Any) -> Any:
    if isinstance(value, dict):
        return [(name, _fact(each)) for name, each in value.items()]
    return value if isinstance(value, _PLAIN) else id(value)
