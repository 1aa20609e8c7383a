"""Every check of a rounding fails where its promise is broken, and only there."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from lying_plugins import Liar, broken

from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.conformance import checks, roundings
from mpqbench.contracts import QuantizedWeight
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import quantize_weight


class WideIntegers(Liar):
    def lie(self, honest, *_):
        return replace(honest, integers=honest.integers.int())


class DoubleScale(Liar):
    def lie(self, honest, *_):
        return replace(honest, scale=honest.scale.double())


class OneBitMore(Liar):
    def lie(self, honest, weight, layer, fmt, bits):
        finer = quantize_weight(weight, fmt, min(8, bits + 1), layer.name)
        return replace(finer, bits=bits)


class SaysMoreBits(Liar):
    on = "constant"

    def lie(self, honest, *_):
        return replace(honest, bits=honest.bits + 1)


class FractionalZero(Liar):
    on = "constant"

    def lie(self, honest, *_):
        return replace(honest, zero=honest.zero + 0.25)


class MovedSymmetric(Liar):
    on = "all zero"

    def lie(self, honest, *_):
        return replace(honest, integers=honest.integers + 1, zero=honest.zero + 1)


class FinerGrids(Liar):
    def lie(self, honest, weight, layer, fmt, bits):
        finer = WeightFormat(granularity="group", group=2, symmetric=fmt.symmetric)
        return quantize_weight(weight, finer, bits, layer.name)


@dataclass(frozen=True)
class Unrounded(QuantizedWeight):
    exact: torch.Tensor | None = None

    def dequantize(self):
        return self.exact


class HiddenValues(Liar):
    def lie(self, honest, weight, *_):
        return Unrounded(honest.integers, honest.scale, honest.zero, honest.bits, weight)


class NotANumber(Liar):
    on = "constant"

    def lie(self, honest, *_):
        return replace(honest, scale=honest.scale * float("nan"))


class OwnDice(Liar):
    on = "constant"

    def lie(self, honest, weight, *_):
        generator = torch.Generator()
        generator.seed()
        flips = torch.randint(0, 2, weight.shape, generator=generator, dtype=torch.int16)
        return replace(honest, integers=honest.integers * 0 + flips)


class GlobalDice(OwnDice):
    def lie(self, honest, weight, *_):
        torch.rand(3)
        return honest


class GlobalSeed(OwnDice):
    def lie(self, honest, *_):
        torch.manual_seed(0)
        return honest


class NumpyDice(OwnDice):
    def lie(self, honest, *_):
        np.random.rand()
        return honest


class WritesWeight(Liar):
    def lie(self, honest, weight, *_):
        weight.zero_()
        return honest


class WritesMoment(Liar):
    needs_inputs = True

    def lie(self, honest, weight, layer, *_):
        layer.moment.mul_(2)
        return honest


class Creeps(Liar):
    error_bound = 1e9

    def lie(self, honest, *_):
        return replace(honest, scale=honest.scale * 1.02)


class Grows(Liar):
    error_bound = 1e12
    idempotent = False

    def lie(self, honest, *_):
        return replace(honest, scale=honest.scale * -2)


class TowardsZero(Liar):
    def lie(self, honest, weight, *_):
        columns = weight.shape[1] // honest.scale.shape[1]
        step = honest.scale.repeat_interleave(columns, 1)
        zero = honest.zero.repeat_interleave(columns, 1)
        integers = (weight / step * (1 + 1e-5)).trunc() + zero
        return replace(honest, integers=integers.to(torch.int16))


class OverwritesTheModel(Liar):
    on = "transformer_blocks"

    def lie(self, honest, weight, *_):
        weight.mul_(1.5)
        return honest


class FinerInTheModel(FinerGrids):
    on = "transformer_blocks"


class Tuple(Liar):
    on = "transformer_blocks.1.ff.net.2"

    def lie(self, honest, *_):
        return honest.integers, honest.scale


LIES = [
    (WideIntegers, "shapes", r"layer 'ordinary' \(24, 12\).*integers are int32.*not int16"),
    (DoubleScale, "shapes", r"scale is float64.*not float32"),
    (OneBitMore, "bits", r"3 bits: integers run from -7 to 6; 3 bits hold -4 to 3 or 0 to 7"),
    (SaysMoreBits, "bits", r"says it has \d bits, not"),
    (FractionalZero, "bits", "zero points must be whole numbers"),
    (MovedSymmetric, "bits", "a symmetric format has zero points 0, not 1"),
    (FinerGrids, "grids", r"symmetric tensor, .*there are \d+ scales .* the format has 1 grids"),
    (HiddenValues, "values", r"other numbers than scale \* \(integers - zero\)"),
    (NotANumber, "finite", r"layer 'constant' .* numbers of scale are not finite"),
    (OwnDice, "deterministic", "two runs with one layer.seed differ"),
    (GlobalDice, "deterministic", "global generator of torch; it must make its own"),
    (GlobalSeed, "deterministic", "global generator of torch"),
    (NumpyDice, "deterministic", "global generator of numpy"),
    (WritesWeight, "arguments", "writes into weight"),
    (WritesMoment, "arguments", "writes into layer.moment"),
    (Creeps, "idempotent", "rounding what is rounded moves it by 0.02 of its size"),
    (Grows, "idempotent", "a second rounding moves the weight by"),
    (
        TowardsZero,
        "error",
        r"weight error .* times nearest rounding's; its error_bound allows 1.05",
    ),
    (OverwritesTheModel, "model", "after removal transformer_blocks.0.* has changed"),
    (FinerInTheModel, "model", r"it takes \d+ bytes, where the format takes"),
    (Tuple, "model", "quantize_model raised AttributeError"),
]


@pytest.mark.parametrize(
    ("liar", "check", "sentence"), LIES, ids=lambda x: getattr(x, "__name__", "")
)
def test_a_lie_fails_its_own_check_only(liar, check, sentence):
    found = broken("rounding", liar())
    assert set(found) == {check}
    assert "\n" not in found[check]
    assert re.search(sentence, found[check])


def test_an_exception_is_a_sentence_that_names_the_case():
    class Divides(Liar):
        on = "one input"

        def lie(self, *_):
            raise ZeroDivisionError("float division by zero")

    found = broken("rounding", Divides())
    assert "layer 'one input' (6, 1)" in found["finite"]
    assert "round raised ZeroDivisionError: float division by zero" in found["finite"]
    assert "model" not in found


def test_a_wrong_type_is_a_sentence():
    class Bare(Liar):
        def lie(self, honest, *_):
            return honest.integers

    assert "round gave a Tensor, not a QuantizedWeight" in broken("rounding", Bare())["shapes"]


def test_a_stated_bound_and_a_stated_clipping_are_respected():
    class Honest(TowardsZero):
        error_bound = 20.0

    class Clips(Creeps):
        idempotent = False

        def lie(self, honest, *_):
            return replace(honest, scale=honest.scale * 0.9)

    assert not broken("rounding", Honest())
    assert not broken("rounding", Clips())


def test_forgetting_the_device_is_seen_on_another_one(monkeypatch):
    class Forgets(Liar):
        on = ""

        def lie(self, honest, *_):
            return replace(honest, zero=torch.zeros(honest.zero.shape))

    monkeypatch.setattr(roundings, "devices", lambda: [torch.device("meta")])
    by_name = {check.name: check for check in checks("rounding", Forgets())}
    with pytest.raises(AssertionError, match="zero is on cpu, the weight on meta"):
        by_name["device"]()
    {check.name: check for check in checks("rounding", Nearest())}["device"]()
