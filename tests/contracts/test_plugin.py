"""The decorator of plugins: values, checked parameters, and what is refused."""

import dataclasses
import math
import pickle

import pytest

from mpqbench.baselines.roundings.adaround import AdaRound
from mpqbench.baselines.roundings.gptq import GPTQ
from mpqbench.baselines.roundings.mse_clip import MSEClip
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.roundings.percentile import Percentile
from mpqbench.baselines.transforms.awq import AWQ
from mpqbench.baselines.transforms.balance import Balance
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.baselines.transforms.none import NoTransform
from mpqbench.baselines.transforms.smooth import Smooth
from mpqbench.baselines.transforms.static_dynamic import StaticDynamic
from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.baselines.tuners.qat import QAT
from mpqbench.contracts import plugin
from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover

NO_HADAMARD = "block must be a power of two, or one times 12"


@pytest.mark.parametrize(
    "own", [Nearest(), MSEClip(steps=7), Balance(skip=["adaln"]), QAT(rate=0.1, seconds=3)]
)
def test_a_plugin_is_a_value(own):
    assert dataclasses.replace(own) == own == pickle.loads(pickle.dumps(own))
    assert hash(own) == hash(dataclasses.replace(own))
    assert repr(own).startswith(f"{type(own).__name__}(")
    for field in dataclasses.fields(own):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(own, field.name, None)


def test_parameters_can_be_replaced_and_are_checked_again():
    own = QAT(rate=0.1)
    assert dataclasses.replace(own, steps=3) == QAT(rate=0.1, steps=3) != own
    with pytest.raises(BenchError, match="steps must be greater than 0, not 0"):
        dataclasses.replace(own, steps=0)
    assert Balance(skip=["adaln"]).skip == ("adaln",)


@pytest.mark.parametrize(
    ("cls", "bad", "message"),
    [
        (AdaRound, {"unit": "model"}, "unit must be 'layer' or 'block', not 'model'"),
        (AdaRound, {"iterations": 0}, "iterations must be greater than 0, not 0"),
        (AdaRound, {"batch": 2.5}, "batch must be a whole number, not 2.5"),
        (AdaRound, {"penalty": -1.0}, "penalty must be greater than 0, not -1.0"),
        (GPTQ, {"damping": 0}, "damping must be greater than 0, not 0"),
        (GPTQ, {"act_order": 1}, "act_order must be true or false, not 1"),
        (MSEClip, {"smallest": 0}, "smallest must be greater than 0, not 0"),
        (MSEClip, {"error": "inputs"}, "error must be 'weight' or 'output', not 'inputs'"),
        (MSEClip, {"error": "output", "exponent": 2.4}, "an output error is a squared one"),
        (Percentile, {"percentiles": (0.9, 0.3)}, "percentiles[1] must be greater than 0.5"),
        (Percentile, {"percentiles": 0.9}, "percentiles must be a list, not 0.9"),
        (AWQ, {"grid": True}, "grid must be a whole number, not True"),
        (Balance, {"skip": "adaln"}, "skip must be a list, not 'adaln'"),
        (Balance, {"skip": ["adaln", 3]}, "skip[1] must be a text, not 3"),
        *((Hadamard, {"block": block}, NO_HADAMARD) for block in (0, -2, 6, 52)),
        *((Hadamard, {"block": block}, "block must be a whole number") for block in (True, 2.0)),
        *((Smooth, {"alpha": a}, "alpha must be at") for a in (-0.1, 1.1)),
        (Smooth, {"alpha": "seek"}, "alpha must be a number or 'search', not 'seek'"),
        (Smooth, {"alpha": None}, "alpha must be a number or 'search', not null"),
        (StaticDynamic, {"alpha": "search"}, "alpha must be a number, not 'search'"),
        (StaticDynamic, {"noisiest": 0}, "noisiest must be greater than 0, not 0"),
        (StaticDynamic, {"block": 6}, NO_HADAMARD),
        (QAT, {"trajectories": 1e3}, "trajectories must be a whole number, not 1000.0"),
        (QAT, {"seconds": 0.0}, "seconds must be greater than 0, not 0.0"),
        (QAT, {"scale_rate": math.nan}, "scale_rate must be a finite number, not nan"),
        (QAT, {"rate": "3e-4"}, "rate must be a number, not '3e-4': write 0.0003"),
        (QAT, {"warmup": -1}, "warmup must be at least 0, not -1"),
        (QAT, {"ema": 1.0}, "ema must be less than 1, not 1.0"),
        (QAT, {"schedule": "cosin"}, "schedule must be 'cosine' or 'constant', not 'cosin'"),
        (QAT, {"span": 3}, "batch must be a multiple of span 3, not 32"),
        (QAT, {"steep": 3}, "unknown parameter steep"),
        (PEFT, {"rank": 0}, "rank must be greater than 0, not 0"),
        (PEFT, {"weight_decay": 0.1}, "weight_decay would pull zero points to 0: set zeros to"),
        (PEFT, {"scales": False}, "zero points are trained with their scales"),
        (
            PEFT,
            {"adapter": "none", "scales": False, "zeros": False, "biases": False},
            "nothing to train: choose an adapter, scales or biases",
        ),
    ],
)
def test_a_bad_parameter_is_one_sentence(cls, bad, message):
    with pytest.raises(BenchError) as caught:
        cls(**bad)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        type("Undecorated", (Nearest,), {}),
        dataclasses.dataclass(frozen=True)(type("Standard", (Nearest,), {})),
        plugin(type("NoBase", (), {})),
        NoTransform,
    ],
)
def test_what_is_no_rounding_is_refused_in_one_sentence(target):
    registry = discover()
    registry.add_table({"rounding": {"mine": target}}, "file mine.py")
    expected = "rounding 'mine' of file mine.py: .* decorator @plugin and the base class Rounding"
    with pytest.raises(BenchError, match=expected):
        registry.create("rounding", PluginChoice(name="mine"))


def test_what_is_no_class_is_refused_when_its_table_is_read():
    with pytest.raises(BenchError, match=r"\['rounding'\]\['mine'\] of file mine.py must be"):
        discover().add_table({"rounding": {"mine": 3}}, "file mine.py")


def test_a_plugin_file_of_another_author_is_created_with_its_parameters(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("""
from __future__ import annotations
from mpqbench.contracts import Rounding, plugin
from pydantic import PositiveInt

@plugin
class Mine(Rounding):
    steps: PositiveInt = 3

    def round(self, weight, layer, fmt, bits):
        raise NotImplementedError

PLUGINS = {"rounding": {"mine": Mine}}
""")
    registry = discover([path])
    assert registry.create("rounding", PluginChoice(name="mine", params={"steps": 5})).steps == 5
    with pytest.raises(BenchError, match="rounding 'mine': steps must be greater than 0, not 0"):
        registry.create("rounding", PluginChoice(name="mine", params={"steps": 0}))
