"""The scoring engine against whole forwards of a quantized model."""

import numpy as np
import pytest
import torch
from tiny_quantizer import W8A8, calibration, errors, output, quantized, quantizer

from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.baselines.transforms.none import NoTransform
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.precision import FULL, Precision
from mpqbench.dit.groups import layer_groups
from mpqbench.search.engine import Engine
from mpqbench.search.setup import EngineSettings

CHOICES = [Precision(w, a) for w in (2, 3, 4) for a in (3, 4)]


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


def _engine(model, transform=None, **settings):
    own = quantizer(transform=transform or NoTransform())
    options = EngineSettings(**({"adaln": W8A8, "batch": 4} | settings))
    return Engine(model, layer_groups(model), own, calibration(), options)


def _naive(model, partial, transform=None, attention_bits=None):
    """Errors of one forward of everything: (inputs,)."""
    exact = output(model)
    own = quantizer(transform=transform or NoTransform(), attention_bits=attention_bits)
    with quantized(model, FULL, given=own, changes=partial):
        return errors(model, exact)


def _random(engine, rng, count):
    return [
        {group: CHOICES[rng.integers(len(CHOICES))] for group in engine.groups}
        for _ in range(count)
    ]


@pytest.mark.parametrize("attention_bits", [None, 4])
@pytest.mark.parametrize("transform", [NoTransform(), Hadamard()], ids=["none", "hadamard"])
def test_complete_and_partial_allocations_score_as_whole_forwards(model, transform, attention_bits):
    engine = _engine(model, transform, attention_bits=attention_bits)
    groups, allocations = engine.groups, _random(engine, np.random.default_rng(0), 3)
    allocations += [
        {groups[0]: CHOICES[0]},
        {groups[7]: CHOICES[1]},
        {groups[2]: CHOICES[2], groups[3]: CHOICES[0]},
        {groups[1]: CHOICES[3], groups[6]: CHOICES[4]},  # with a gap
        {},
    ]
    found = engine.errors(allocations)
    expected = [_naive(model, each, transform, attention_bits) for each in allocations]
    # Errors of adaLN alone are so small that float32 outputs leave them few digits.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-10)


def test_all_pairs_of_two_halves_score_as_one_by_one(model):
    engine = _engine(model)
    a, b = engine.groups[2:4]
    left = [{a: CHOICES[i], b: CHOICES[-1 - i]} for i in range(len(CHOICES))]
    right = [{engine.groups[4]: choice} for choice in CHOICES]
    pairs = [one | other for one in left for other in right]
    together = engine.errors(pairs)
    alone = np.concatenate([_engine(model).errors([pair]) for pair in pairs])
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    np.testing.assert_allclose(together[7], _naive(model, pairs[7]), rtol=1e-5)


@pytest.mark.parametrize(("batch", "rows"), [(1, 4), (2, 2), (6, 1000), (5, 7)])
def test_pieces_of_any_size_give_the_same(model, batch, rows, monkeypatch):
    allocations = _random(_engine(model), np.random.default_rng(1), 4)
    reference = _engine(model).errors(allocations)
    monkeypatch.setattr("mpqbench.search.engine.piece_rows", lambda *_: rows)
    found = _engine(model, batch=batch).errors(allocations)
    np.testing.assert_allclose(found, reference, rtol=1e-5)


def test_chaotic_candidates_score_as_whole_forwards_to_the_last_digits(model):
    engine = _engine(model, batch=6)
    coarse = dict.fromkeys(engine.groups, Precision(2, 2))  # any last bit changes some integers
    np.testing.assert_allclose(engine.errors([coarse])[0], _naive(model, coarse), rtol=1e-7)


def test_prefixes_stay_within_their_memory(model, monkeypatch):
    entries = [{group: CHOICES[0]} for group in _engine(model).groups]
    expected = _engine(model).errors(entries)
    monkeypatch.setattr("mpqbench.search.engine.PREFIX_BYTES", 0)
    engine = _engine(model)
    np.testing.assert_array_equal(engine.errors(entries), expected)
    for batch in engine.batches:
        assert set(batch.prefixes) == {0, 4, 8}


def test_the_order_of_candidates_does_not_matter(model):
    rng = np.random.default_rng(5)
    engine = _engine(model)
    half = [{engine.groups[k]: CHOICES[rng.integers(6)] for k in (1, 2, 3)} for _ in range(5)]
    half += [half[0], {engine.groups[2]: CHOICES[0]}, {}]  # twice the same, other lengths
    order = rng.permutation(len(half))
    np.testing.assert_array_equal(
        engine.errors([half[k] for k in order]), engine.errors(half)[order]
    )


def test_shared_work_is_counted_once_and_never_above_the_price(model):
    engine = _engine(model)
    left = [{engine.groups[4]: choice} for choice in CHOICES]
    pairs = [a | {engine.groups[5]: choice} for a in left for choice in CHOICES]
    engine.errors([pairs[0]])
    before = engine.forwards
    engine.errors(pairs)
    spent = engine.forwards - before
    share = engine._share
    expected = len(left) * share[4] + len(pairs) * share[5:].sum()
    assert spent == pytest.approx(expected)
    assert spent < sum(engine.price(pair) for pair in pairs)
    assert engine.price(dict.fromkeys(engine.groups, CHOICES[0])) == pytest.approx(1.0)


def test_outputs_are_those_of_whole_forwards_and_equal_allocations_share_one(model):
    engine = _engine(model)
    first, second = _random(engine, np.random.default_rng(3), 2)
    (batch, _) = engine.batches
    found = engine.outputs([first, second, dict(first)], batch)
    assert found[0] is found[2]
    with quantized(model, FULL, given=quantizer(), changes=second):
        expected = output(model)[: len(batch)]
    torch.testing.assert_close(found[1], expected, rtol=1e-5, atol=1e-6)
    sums = engine.batch_errors([second], batch, lambda own, _: own.sum((2, 3, 4)))
    np.testing.assert_allclose(sums[0], found[1].sum((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("needs_bits", [False, True])
def test_a_basis_is_fitted_once_for_all_activation_bits_where_it_may_be(model, needs_bits):
    fits = []

    class Counting(Hadamard):
        needs_activation_bits = needs_bits

        def fit(self, weight, layer):
            fits.append((layer.name, layer.precision))
            return super().fit(weight, layer)

    engine = _engine(model, Counting())
    group, fitted = next(iter(engine.searchable.values())), len(fits)
    x = torch.randn(2, 16, group.weight.shape[1])
    with torch.no_grad():
        outputs = {p: group.at(p)(x) for p in CHOICES}
    assert len(fits) - fitted == (len(CHOICES) if needs_bits else 3)  # 2, 3 and 4 bits of weights
    plain = _engine(model, Hadamard()).searchable[group.name]
    with torch.no_grad():
        assert all(torch.equal(plain.at(p)(x), found) for p, found in outputs.items())
