"""Every check of a rounding that sees a whole block fails where its promise is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lying_plugins import Liar, broken

from mpqbench.quant.affine import quantize_weight


class ByBlock(Liar):
    """Honest layer by layer; ``round_block`` is nearest rounding, tampered with."""

    on = "nowhere"
    by_block = True

    def round_block(self, block, fmt):
        found = {
            name: quantize_weight(weight, fmt, block.bits[name], name)
            for name, weight in block.weights.items()
        }
        return self.tamper(found) if block.name == "block" else found

    def tamper(self, found):
        return found


class ForgetsALayer(ByBlock):
    def tamper(self, found):
        return {name: rounded for name, rounded in found.items() if name.endswith("up")}


class EightBits(ByBlock):
    def tamper(self, found):
        return {name: replace(r, integers=r.integers * 8) for name, r in found.items()}


class BlockDice(ByBlock):
    def tamper(self, found):
        torch.rand(1)
        return found


class HalfTheWeights(ByBlock):
    def tamper(self, found):
        return {name: replace(r, integers=r.integers // 2) for name, r in found.items()}


@pytest.mark.parametrize(
    ("liar", "failing", "sentence"),
    [
        (ByBlock, set(), ""),
        (ForgetsALayer, {"block-layers", "block-error"}, "round_block gave"),
        (EightBits, {"block-layers", "block-error"}, "integers run from"),
        (BlockDice, {"block-deterministic"}, "global generator of torch"),
        (HalfTheWeights, {"block-error"}, "block, channel format: squared output error"),
    ],
)
def test_lies_about_a_block(liar, failing, sentence):
    found = broken("rounding", liar())
    assert set(found) == failing
    if failing:
        assert sentence in found[min(failing - {"block-error"} or failing)]
