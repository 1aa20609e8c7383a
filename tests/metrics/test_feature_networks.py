import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mpqbench.core.errors import BenchError
from mpqbench.metrics.fashion_net import FashionNet
from mpqbench.metrics.features import load_extractor, weights_digest
from mpqbench.metrics.images import open_images


def test_features_are_those_of_the_network(extractor, fashion_weights, make_images):
    images = make_images(7, seed=1)
    network = FashionNet(width=4).eval()
    network.load_state_dict(load_file(fashion_weights))
    with torch.inference_mode():
        scaled = torch.from_numpy(images).permute(0, 3, 1, 2) / 255 * 2 - 1
        expected = network(scaled)
    features = extractor.extract(open_images(images), batch_size=3)
    for ours, theirs in zip(features, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
    assert features.pooled.shape == (7, extractor.dimension) == (7, 16)
    assert features.spatial.shape == (7, extractor.spatial_dimension) == (7, 448)
    assert features.logits.shape == (7, 10)


def test_features_do_not_depend_on_how_many_images_follow(extractor, make_images, monkeypatch):
    images = make_images(9, seed=2)
    everything = extractor.extract(open_images(images), batch_size=4)
    for count in (1, 3, 4, 5):
        part = extractor.extract(open_images(images[:count]), batch_size=4)
        for ours, theirs in zip(part, everything, strict=True):
            np.testing.assert_array_equal(ours, theirs[:count])

    seen, forward, told = [], extractor.forward, []

    def watched(inputs):
        precision = torch.get_float32_matmul_precision()
        seen.append((len(inputs), precision, torch.backends.cudnn.allow_tf32))
        return forward(inputs)

    monkeypatch.setattr(extractor, "forward", watched)
    held = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        extractor.extract(open_images(images), batch_size=4, advance=told.append)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(held)
    assert seen == [(4, "highest", False)] * 3
    assert told == [4, 4, 1]


def test_images_are_grey_and_of_one_size(extractor, make_images):
    images = make_images(3, seed=3)
    colour = np.repeat(images, 3, axis=3)
    np.testing.assert_array_equal(
        extractor.extract(open_images(colour)).pooled, extractor.extract(open_images(images)).pooled
    )
    colour[2, 5, 5, 1] ^= 1
    with pytest.raises(BenchError, match="these have colour"):
        extractor.extract(open_images(colour))
    with pytest.raises(BenchError, match="need 32x32 images; array: 28x28"):
        extractor.extract(open_images(np.zeros((2, 28, 28, 1), np.uint8)))


def test_the_digest_is_of_values_and_shapes_not_of_the_file(extractor, fashion_weights, tmp_path):
    state = load_file(fashion_weights)
    save_file(dict(reversed(state.items())), tmp_path / "same.safetensors", {"note": "other"})
    assert load_extractor("fashion", tmp_path / "same.safetensors").digest == extractor.digest
    state["head.bias"][0] += 1e-3
    save_file(state, tmp_path / "other.safetensors")
    assert load_extractor("fashion", tmp_path / "other.safetensors").digest != extractor.digest
    flat, square = torch.nn.Linear(4, 1, bias=False), torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        flat.weight.fill_(1)
        square.weight.fill_(1)
    assert weights_digest(flat) != weights_digest(square)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("fashon",), "unknown feature network 'fashon'; did you mean"),
        (("fashion", "none.safetensors"), "does not exist: --feature-weights"),
        (("fashion", None, "warp"), "device 'warp' cannot be used here"),
    ],
)
def test_mistakes_are_named(arguments, sentence):
    with pytest.raises(BenchError, match=sentence):
        load_extractor(*arguments)
