"""Every check of a transform fails where its promise is broken."""

from __future__ import annotations

import re

import pytest
import torch
from lying_plugins import broken
from torch import nn

from mpqbench.conformance import checks, transforms


class Scales(nn.Module):
    """Honest: one number per channel."""

    operations = 1  # a channel, where it lies

    def __init__(self, weight, layer, lying):
        super().__init__()
        largest = weight.abs().amax(0).clamp(1e-6, 1e6)
        self.register_buffer("scale", 1 / largest)
        self.lying = lying
        self.macs_per_token = layer.in_features * (self.operations if lying else 1)
        self.extra_bits = 16 * layer.in_features

    def weight(self, weight):
        return weight * self.scale

    def input(self, x):
        return x / self.scale


class Plugin:
    """Fits ``fitted``, which lies where the layer's name starts with ``on``."""

    needs_inputs = False

    def __init__(self, fitted=Scales, on="ordinary"):
        self.fitted, self.on = fitted, on

    def fit(self, weight, layer):
        return self.fitted(weight, layer, layer.name.startswith(self.on))


class DropsAChannel(Scales):
    operations = 2

    def input(self, x):
        y = x / self.scale
        return torch.cat([y[..., :1] * 0, y[..., 1:]], -1) if self.lying else y


class Adds(Scales):
    operations = 2

    def input(self, x):
        return x / self.scale + 0.1 if self.lying else x / self.scale


class Flattens(Scales):
    def input(self, x):
        y = x / self.scale
        return y.flatten(0, -2) if self.lying else y


class Doubles(Scales):
    def weight(self, weight):
        w = weight * self.scale
        return w.double() if self.lying else w


class DividesByZero(Scales):
    def __init__(self, weight, layer, lying):
        super().__init__(weight, layer, lying)
        if lying:
            self.scale = 1 / weight.abs().amax(0)


class RowsOfTheFit(Scales):
    """Knows the largest weight it was fitted to, and expects it in what it is given."""

    def __init__(self, weight, layer, lying):
        super().__init__(weight, layer, lying)
        self.largest = float(weight.abs().max())

    def weight(self, weight):
        w = weight * self.scale
        return w * (self.largest / weight.abs().max()) if self.lying else w


class Detaches(Scales):
    def input(self, x):
        return (x.detach() if self.lying else x) / self.scale


class WrongGradient(Scales):
    def input(self, x):
        y = x / self.scale
        return y.detach() + (x - x.detach()) if self.lying and x.requires_grad else y


class GlobalSigns(Scales):
    def __init__(self, weight, layer, lying):
        super().__init__(weight, layer, lying)
        self.scale = torch.randn(weight.shape[1]).sign()


class WritesWeight(Scales):
    def __init__(self, weight, layer, lying):
        super().__init__(weight, layer, lying)
        weight.abs_()


class WritesInput(Scales):
    def input(self, x):
        return x.div_(self.scale) if self.lying and not x.requires_grad else x / self.scale


class ClaimsNoMacs(Scales):
    def __init__(self, weight, layer, lying):
        super().__init__(weight, layer, lying)
        self.macs_per_token = 0 if lying else self.macs_per_token


class ClaimsManyMacs(Scales):
    def __init__(self, weight, layer, lying):
        super().__init__(weight, layer, lying)
        self.macs_per_token = 3 * layer.in_features if lying else layer.in_features


class DenseProduct(Scales):
    """A whole matrix at the price of a vector."""

    def input(self, x):
        return x @ torch.diag(1 / self.scale) if self.lying else x / self.scale


class ClaimsFewBits(Scales):
    def __init__(self, weight, layer, lying):
        super().__init__(weight, layer, lying)
        self.extra_bits = 8 * layer.in_features if lying else 16 * layer.in_features


class HidesItsScales(Scales):
    """A list of numbers is stored too."""

    def __init__(self, weight, layer, lying):
        super().__init__(weight, layer, lying)
        self.numbers = self.scale.tolist()
        self.extra_bits = 0 if lying else self.extra_bits

    def input(self, x):
        return x / (torch.tensor(self.numbers) if self.lying else self.scale)


class NoBuffer:
    def __init__(self, weight, layer, lying):
        inner = Scales(weight, layer, lying)
        self.scale, self.macs_per_token = inner.scale, inner.macs_per_token
        self.extra_bits = inner.extra_bits

    def weight(self, weight):
        return weight * self.scale

    def input(self, x):
        return x / self.scale


class CostsMoreInTheModel(ClaimsManyMacs):
    pass


LIES = [
    (DropsAChannel, "ordinary", {"output"}, r"differs from x @ W.T by 0\.\d+ of its size"),
    (Adds, "ordinary", {"output", "linear", "gradient"}, "it must be linear"),
    (Flattens, "constant", {"shapes"}, r"input gave torch.float32 \(6, 20\) .*\(2, 3, 20\)"),
    (Doubles, "constant", {"shapes"}, r"weight gave torch.float64"),
    (DividesByZero, "dead channels", {"finite"}, r"layer 'dead channels'.*weight.* not finite"),
    (RowsOfTheFit, "three", {"stacked"}, "three stacked.*rows must not depend|differs from x @ W"),
    (Detaches, "ordinary", {"gradient"}, "has no gradient where x does"),
    (WrongGradient, "ordinary", {"gradient"}, "along a direction where the map itself gives"),
    (GlobalSigns, "", {"deterministic"}, "global generator of torch"),
    (WritesWeight, "", {"arguments"}, "writes into weight"),
    (WritesInput, "ordinary", {"arguments"}, "writes into x"),
    (ClaimsNoMacs, "ordinary", {"macs"}, r"macs_per_token is 0, but input executes 12 a row"),
    (ClaimsManyMacs, "ordinary", {"macs"}, r"macs_per_token is 36, but input executes 12 a row"),
    (DenseProduct, "ordinary", {"macs"}, r"is 12, but input executes 144 a row"),
    (ClaimsFewBits, "ordinary", {"extra-bits"}, r"extra_bits is 96, .* tensors that take 192 bits"),
    (NoBuffer, "", {"device"}, "no buffer of an nn.Module: it would stay behind"),
    (CostsMoreInTheModel, "blocks", {"model"}, r"transforms and branches add \d+ MACs .* execute"),
    (Scales, "", set(), ""),
]


@pytest.mark.parametrize(
    ("fitted", "on", "failing", "sentence"), LIES, ids=[lie[0].__name__ for lie in LIES]
)
def test_a_lie_fails_its_own_check(fitted, on, failing, sentence):
    found = broken("transform", Plugin(fitted, on))
    assert set(found) == failing
    if failing:
        where = "linear" if "linear" in failing else min(failing)
        assert "\n" not in found[where]
        assert re.search(sentence, found[where])


def test_numbers_in_a_list_are_stored_numbers():
    found = broken("transform", Plugin(HidesItsScales))
    assert "extra_bits is 0, but input reads tensors that take 192 bits" in found["extra-bits"]


def test_an_exception_on_a_hostile_layer_is_a_sentence():
    class Raises(Scales):
        def __init__(self, weight, layer, lying):
            super().__init__(weight, layer, lying)
            if lying:
                raise RuntimeError("singular")

    found = broken("transform", Plugin(Raises, "denormals"))
    assert "layer 'denormals' (6, 20): fit raised RuntimeError: singular" in found["finite"]
    assert {"output", "model"}.isdisjoint(found)


def test_forgetting_the_device_is_seen_on_another_one(monkeypatch):
    class Forgets(Scales):
        def weight(self, weight):
            return torch.ones(weight.shape) if weight.is_meta else weight * self.scale

    monkeypatch.setattr(transforms, "devices", lambda: [torch.device("meta")])
    check = {c.name: c for c in checks("transform", Plugin(Forgets))}["device"]
    with pytest.raises(AssertionError, match=r"weight\(...\) is on cpu, its argument on meta"):
        check()
