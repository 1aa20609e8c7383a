"""A slow rounding that is stopped goes on at the layer or block where it was."""

import pytest
import torch

import mpqbench as api
from mpqbench.baselines.roundings.adaround import AdaRound
from mpqbench.core.progress import Reporter
from mpqbench.records.schema import METRICS

SUITE = """
name: slow
models: [{folder}]
methods: [{{base: {method}, name: {method}, rounding: {{name: adaround, iterations: 5{unit}}}}}]
budgets: [W4A4]
protocol: {{base: smoke, images: 4, steps: 2, micro_batch: 4, calibration: 4, features: none}}
"""
KINDS = {"adaround": ("round", ""), "brecq": ("round_block", ", unit: block")}


@pytest.mark.parametrize("method", KINDS)
def test_what_was_rounded_before_an_interruption_is_not_rounded_again(
    tiny_folder, tmp_path, monkeypatch, method
):
    call, unit = KINDS[method]
    suite = tmp_path / "slow.yaml"
    suite.write_text(SUITE.format(folder=tiny_folder, method=method, unit=unit), encoding="utf-8")
    rounded, stop_at = [], None
    original = getattr(AdaRound, call)

    def watched(self, what, *arguments):
        if stop_at is not None and len(rounded) == stop_at:
            raise KeyboardInterrupt
        rounded.append(torch.cat([w.flatten() for w in _weights(what)]).sum().item())
        return original(self, what, *arguments)

    monkeypatch.setattr(AdaRound, call, watched)
    whole = list(api.run(str(suite), out=tmp_path / "whole", reporter=Reporter()))
    every, stop_at = [*rounded], len(rounded) // 2
    rounded.clear()
    with pytest.raises(KeyboardInterrupt):
        api.run(str(suite), out=tmp_path / "parts", reporter=Reporter())
    stop_at = None
    parts = list(api.run(str(suite), out=tmp_path / "parts", reporter=Reporter()))
    assert len(every) > 1
    assert rounded == every  # each once, in both runs together
    for one, other in zip(whole, parts, strict=True):
        assert one.status == other.status == "done"
        assert [one.scores.get(m) for m in METRICS] == [other.scores.get(m) for m in METRICS]


def _weights(what):
    return [what] if isinstance(what, torch.Tensor) else what.weights.values()
