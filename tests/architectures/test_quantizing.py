"""Quantizing, searching and counting on every architecture."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from pipelines import SAVED, SIZES, UNGUIDED, save
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mpqbench import api
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.contracts import LayerData
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Precision
from mpqbench.core.progress import Reporter
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.cost.count import CountOptions, count
from mpqbench.dit.architectures import architecture_of
from mpqbench.dit.calibration import CalibrationSet, evaluate
from mpqbench.dit.groups import layer_groups, linear_layer, uniform_allocation
from mpqbench.dit.loading import load_model, skeleton
from mpqbench.dit.prompt_files import read_prompt_embeddings
from mpqbench.dit.scheduler_configs import FlowConfig
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.build import GroupQuantizer
from mpqbench.search.engine import Engine
from mpqbench.search.setup import EngineSettings

W8A8 = Precision(8, 8)
BATCH = 3  # rounding may differ in the last bit with the size of a batch
CHOICES = [Precision(w, a) for w in (2, 3, 4) for a in (3, 4)]


@pytest.fixture(scope="module", params=list(SAVED))
def pipeline(request, tmp_path_factory):
    return save(request.param, tmp_path_factory.mktemp("pipelines") / request.param)


@pytest.fixture(scope="module")
def transformer(pipeline):
    folder, embeddings = pipeline
    model = load_model(str(folder))
    model.transformer.prompts = read_prompt_embeddings(embeddings, model.transformer)
    model.configure(PROTOCOLS["smoke"].model_copy(update=of_pipeline(folder)))
    return model.transformer


def of_pipeline(folder):
    """The fields of a protocol that suit a pipeline, whose name is that of its folder."""
    guidance = {"guidance": 1.0} if folder.name in UNGUIDED else {}
    return guidance | ({"image_size": SIZES[folder.name]} if folder.name in SIZES else {})


def inputs_of(transformer, count=5):
    generator = torch.Generator().manual_seed(3)
    shape = architecture_of(transformer).latent_shape(transformer)
    latents = torch.randn(count, *shape, generator=generator)
    times = torch.tensor([1000.0, 800.0, 555.5, 20.0, 1.0])[:count]
    return CalibrationSet(latents, times, torch.arange(count))


def quantizer(**settings):
    def layer_data(path):
        return LayerData(path, 0, 0, seed=0)

    weight, activation = WeightFormat(symmetric=True), ActivationFormat()
    given = {"transform": Hadamard(), "rounding": Nearest()} | settings
    return GroupQuantizer(
        weight_format=weight, activation_format=activation, layer_data=layer_data, **given
    )


def test_groups_are_called_in_their_order_and_each_shares_an_input(transformer):
    groups, order, inputs = layer_groups(transformer), [], {}
    with ExitStack() as stack:
        for group in groups:
            for path in group.layers:

                def keep(_module, arguments, group=group, path=path):
                    order.append(group.name)
                    inputs.setdefault(group.name, []).append(arguments[0])

                layer = linear_layer(transformer, path)
                stack.callback(layer.register_forward_pre_hook(keep).remove)
        evaluate(transformer, inputs_of(transformer, 2), 2)
    searchable = [group.name for group in groups if group.searchable]
    assert [name for name in dict.fromkeys(order) if name in searchable] == searchable
    for group in groups:
        first, *others = inputs[group.name]
        assert len(others) == len(group.layers) - 1
        assert all(torch.equal(first, other) for other in others)
        assert first[0].numel() == group.tokens * first.shape[-1]


@pytest.mark.parametrize("attention_bits", [None, 4])
def test_an_engine_scores_as_whole_forwards(transformer, attention_bits):
    products = architecture_of(transformer).attention(transformer)
    if attention_bits is not None and any(each.linear for each in products):
        pytest.skip("products of linear attention are not quantized (see test_sana.py)")
    groups, calibration = layer_groups(transformer), inputs_of(transformer)
    own = quantizer(attention_bits=attention_bits)
    settings = EngineSettings(adaln=W8A8, batch=BATCH, attention_bits=attention_bits)
    engine, rng = Engine(transformer, groups, own, calibration, settings), np.random.default_rng(0)
    names = engine.groups
    allocations = [{name: CHOICES[rng.integers(6)] for name in names} for _ in range(3)]
    allocations += [
        {names[0]: CHOICES[0]},
        {names[-1]: CHOICES[1]},
        {names[1]: CHOICES[3], names[-2]: CHOICES[4]},
        {},
    ]
    exact = evaluate(transformer, calibration, BATCH)
    expected = []
    for partial in allocations:
        whole = uniform_allocation(groups, FULL, W8A8)
        with quantize_model(transformer, groups, {**whole, **partial}, own):
            errors = evaluate(transformer, calibration, BATCH).double() - exact.double()
        expected.append(errors.square().flatten(1).mean(1).numpy())
    found = engine.errors(allocations)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-10)
    assert (np.array(expected)[:3] > 1e-4).all()


def test_macs_are_those_of_a_flop_counter(transformer):
    groups = layer_groups(transformer)
    bare = skeleton(transformer)
    options = CountOptions(WeightFormat(symmetric=True), ActivationFormat())
    report = count(bare, groups, uniform_allocation(groups, FULL, FULL), options)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        evaluate(transformer, inputs_of(transformer, 1), 1)
    assert report.macs == counter.get_total_flops() // 2
    assert report.parameters == sum(p.numel() for p in transformer.parameters())


SUITE = """
name: small
models: [{folder}]
methods: [{methods}]
budgets: [W4A4]
formats: [g32]
protocol: {{base: smoke, images: 8, steps: 3, micro_batch: 4, calibration: 6, features: none,
  prompt_embeddings: {embeddings}{more}}}
"""


@pytest.mark.parametrize(
    "methods",
    [
        "rtn, {base: treeq, name: treeq, evaluations: 400, searcher: {name: tss, keep: 4}}",
        pytest.param("gptq, quarot, svdquant, brecq", marks=pytest.mark.slow),
    ],
    ids=["searched", "quantizers"],
)
def test_methods_run_and_resume(pipeline, methods, tmp_path):
    folder, embeddings = pipeline
    suite, out = tmp_path / "small.yaml", tmp_path / "out"
    more = "".join(f", {name}: {value}" for name, value in of_pipeline(folder).items())
    text = SUITE.format(folder=folder, embeddings=embeddings, more=more, methods=methods)
    suite.write_text(text, encoding="utf-8")
    first = list(api.run(str(suite), out=out, reporter=Reporter()))
    assert {record.status for record in first} == {"done"}, [
        (record.method, record.reason) for record in first if record.status != "done"
    ]
    assert list(api.run(str(suite), out=out, reporter=Reporter())) == first
    is_flow = isinstance(load_model(str(folder)).scheduler, FlowConfig)
    assert {record.protocol["sampler"] for record in first} == {"euler" if is_flow else "ddim"}
