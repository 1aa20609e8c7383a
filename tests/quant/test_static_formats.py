"""Static activation formats in a model: per tensor, per time group, in a new basis."""

import pytest
import torch
from tiny_quantizer import Scaled, output, quantized

from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat
from mpqbench.dit.calibration import CalibrationSet
from mpqbench.dit.groups import layer_groups
from mpqbench.quant.activation import StepRanges
from mpqbench.quant.affine import fake_quantize, qparams_from_range

DOWN = "transformer_blocks.0.ff.net.2"
STEPS = torch.tensor([990, 700, 400, 100])


def _apply(model, fmt, low=(-1.0,) * 4, high=(14.0,) * 4, without=(), **options):
    paths = [path for group in layer_groups(model) for path in group.layers]
    own = StepRanges(STEPS, torch.tensor(low), torch.tensor(high))
    ranges = {path: own for path in paths if path not in without}
    return quantized(model, activation_format=fmt, static_ranges=ranges, **options)


def _forward(model, times):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(len(times), 4, 8, 8, generator=generator)
    classes = torch.zeros(len(times), dtype=torch.long)
    return output(model, CalibrationSet(latents, torch.tensor(times), classes))


def test_one_grid_covers_all_steps_and_is_needed(transformer):
    fmt = ActivationFormat(granularity="tensor")
    with _apply(transformer, fmt, low=(-1.0, 0.0, 0.5, 0.0), high=(2.0, 14.0, 3.0, 1.0)) as made:
        (grid,) = made.layers[DOWN].source.activation.static
        assert (grid.scale, grid.zero) == (1.0, 1.0)
        assert torch.isfinite(_forward(transformer, [5, 900])).all()
    missing = "transformer_blocks.1.attn1.to_q"
    with pytest.raises(BenchError, match=rf"{missing}: a static .* range"):
        _apply(transformer, fmt, without=(missing,))


def test_ranges_follow_a_transform(transformer):
    fmt = ActivationFormat(granularity="tensor", time_groups=2)
    with pytest.raises(BenchError, match="needs calibration inputs"):
        _apply(transformer, fmt, transform=Scaled())

    def data(name):
        rows, times = torch.tensor([[0.0, 60.0], [0.0, 120.0]]), torch.tensor([10, 600])
        return LayerData(name, 0, 0, inputs=rows, times=times)

    with _apply(transformer, fmt, transform=Scaled(), layer_data=data) as made:
        assert [grid.scale for grid in made.layers[DOWN].source.activation.static] == [1.0, 2.0]


def test_every_input_is_rounded_on_the_grid_of_its_time(transformer):
    fmt = ActivationFormat(granularity="tensor", time_groups=2)
    low, high = (-1.0, -1.0, -2.0, -2.0), (3.0, 4.0, 1.0, 0.5)  # late steps come last
    x = torch.randn(4, 16, 64, generator=torch.Generator().manual_seed(1))
    with _apply(transformer, fmt, low, high) as made:
        _forward(transformer, [999, 500, 499, 0])  # tells the clock
        given = made.layers[DOWN].source(x)
    for index, ends in enumerate([(-1.0, 4.0), (-1.0, 4.0), (-2.0, 1.0), (-2.0, 1.0)]):
        grid = qparams_from_range(torch.tensor(ends[0]), torch.tensor(ends[1]), 4, symmetric=False)
        assert torch.equal(given[index], fake_quantize(x[index], grid))


def test_the_hook_on_time_goes_with_the_model(transformer):
    fmt = ActivationFormat(granularity="tensor", time_groups=2)
    with _apply(transformer, fmt) as made:
        assert len(transformer._forward_pre_hooks) == 1
        with made.lifted():
            assert not transformer._forward_pre_hooks
    assert not transformer._forward_pre_hooks


def test_a_time_group_without_calibration_is_named(transformer):
    fmt = ActivationFormat(granularity="tensor", time_groups=10)
    with pytest.raises(BenchError, match=r"no step of time group 1 of 10"):
        _apply(transformer, fmt)


def test_stored_grids_are_counted_once_per_time_group(transformer):
    stored = []
    for groups in (1, 4):
        fmt = ActivationFormat(granularity="tensor", time_groups=groups)
        with _apply(transformer, fmt) as made:
            stored.append(made.storage[DOWN])
    assert stored[1].scale - stored[0].scale == 3 * 2
    assert (stored[0].input_zero, stored[1].input_zero) == (1, 2)  # packed at 4 bits
