"""Known configurations are counted without weights, with the published numbers."""

import json

import pytest
import torch

from mpqbench.dit.loading import meta_transformer

PARAMETERS = {  # the sources are in zoo.py
    "pixart-sigma-xl-2-1024": 610_856_096,
    "sana-1.6b": 1_604_462_752,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_known_configuration_has_the_published_parameters(mpqbench, name):
    code, out, _ = mpqbench("cost", "--model", name, "--budget", "W4A4", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["parameters"] == PARAMETERS[name]
    transformer = meta_transformer(name)
    assert {p.device for p in transformer.parameters()} == {torch.device("meta")}


def test_macs_of_pixart_at_1024_follow_from_its_widths(mpqbench):
    """28 blocks of width 1152, 64 x 64 patches of 2 x 2 latents, 300 tokens of a prompt."""
    _, out, _ = mpqbench("cost", "--model", "pixart-sigma-xl-2-1024", "--budget", "W4A4", "--json")
    image, prompt, width = 64 * 64, 300, 1152
    linear = image * (4 + 2 + 8) * width**2 + prompt * 2 * width**2
    products = 2 * image * (image + prompt) * width
    embedding = image * width * (4 * 4 + 8 * 4) + prompt * (4096 + width) * width
    time = (256 + width) * width + 6 * width**2
    assert json.loads(out)["macs"] == 28 * (linear + products) + embedding + time
