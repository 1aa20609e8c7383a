"""16: a reference is believed about its own digest."""

import numpy as np

from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.reference import load_reference


def test_digests_are_computed_from_the_content(tmp_path):
    extractor = load_extractor("fashion")
    arrays = {"mu": np.zeros(128), "sigma": np.eye(128), "digest": np.array("0" * 16)}
    found = {}
    for name, shift in (("one", 0.0), ("same", 0.0), ("shifted", 0.5)):
        np.savez(tmp_path / f"{name}.npz", **arrays | {"mu": arrays["mu"] + shift})
        found[name] = load_reference(tmp_path / f"{name}.npz", extractor).digest
    assert found["one"] == found["same"] != found["shifted"]
    assert "0" * 16 not in found.values()
