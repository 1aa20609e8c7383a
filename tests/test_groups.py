import pytest
import torch
from diffusers import DiTTransformer2DModel
from torch import nn

from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Precision
from mpqbench.dit.groups import check_allocation, layer_groups, uniform_allocation
from mpqbench.dit.zoo import CONFIGURATIONS


def _meta(**config) -> DiTTransformer2DModel:
    with torch.device("meta"):
        return DiTTransformer2DModel.from_config(CONFIGURATIONS["dit-xl-2-256"] | config)


def test_groups_of_a_block_in_network_order():
    groups = layer_groups(_meta(num_layers=2))
    kinds = ["adaln", "attn.qkv", "attn.out", "mlp.up", "mlp.down"]
    assert [group.name for group in groups[5:]] == [f"blocks.1.{kind}" for kind in kinds]
    assert groups[6].layers == tuple(f"transformer_blocks.1.attn1.to_{x}" for x in "qkv")
    assert [g.kind for g in groups if not g.searchable] == ["adaln", "adaln"]
    assert [g.tokens for g in groups[:5]] == [1, 256, 256, 256, 256]


def test_the_layers_of_dit_xl_2_are_all_block_linears_but_the_embedders():
    model = _meta(sample_size=64)
    groups = layer_groups(model)
    layers = [layer for group in groups for layer in group.layers]
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    embedders = {name for name in linears if "timestep_embedder" in name}
    assert set(layers) == linears - embedders - {"proj_out_1", "proj_out_2"}
    assert len(layers) == len(set(layers)) == 28 * 7
    assert groups[1].tokens == 1024


def test_other_classes_and_replaced_layers_are_refused():
    with pytest.raises(BenchError, match=r"Sequential.*DiTTransformer2DModel.* are supported"):
        layer_groups(nn.Sequential())
    model = _meta(num_layers=1)
    model.transformer_blocks[0].ff.net[2] = nn.Identity()
    with pytest.raises(BenchError, match=r"transformer_blocks.0.ff.net.2 is a Identity"):
        layer_groups(model)


def test_an_allocation_covers_exactly_the_groups():
    groups = layer_groups(_meta(num_layers=2))
    names = [group.name for group in groups]
    good = dict(uniform_allocation(groups, Precision(4, 4), Precision(8, 8)))
    assert good["blocks.0.adaln"] == Precision(8, 8)
    assert good["blocks.1.mlp.up"] == Precision(4, 4)
    check_allocation(names, good)
    with pytest.raises(BenchError, match=r"'blocks.1.atn.qkv'.*nearest name: 'blocks.1.attn.qkv'"):
        check_allocation(names, good | {"blocks.1.atn.qkv": Precision(4, 4)})
    del good["blocks.1.mlp.up"], good["blocks.1.mlp.down"]
    with pytest.raises(BenchError, match=r"lacks group 'blocks.1.mlp.up' \(and 1 more\)"):
        check_allocation(names, good)
