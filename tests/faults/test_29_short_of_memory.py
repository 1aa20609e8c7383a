"""A device with too little memory: smaller parts of a micro-batch, said, or one sentence."""

import numpy as np
import pytest
import torch

from mpqbench.core.errors import BenchError, reason_of
from mpqbench.dit.halving import Halving
from mpqbench.dit.loading import DiTModel
from mpqbench.dit.sampling import Sampler


def short_of(monkeypatch, owner, method, rows):
    """Let ``method``, whose last argument has a row for each image, have room for ``rows``."""
    real, asked = getattr(owner, method), []

    def limited(self, *arguments):
        asked.append(len(arguments[-1]))
        if asked[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has")
        return real(self, *arguments)

    monkeypatch.setattr(owner, method, limited)
    return asked


def images(folder):
    paths = sorted(folder.glob("samples/*/shard-*.npz"))
    return [np.load(path)[key] for path in paths for key in ("arr_0", "latents")]


@pytest.mark.parametrize(
    ("owner", "method", "rows", "part"),
    [(Sampler, "_predict", 3, 2), (DiTModel, "decode", 1, 1)],
)
def test_a_micro_batch_is_halved_within_its_shard_and_this_is_said(
    kept, monkeypatch, owner, method, rows, part
):
    whole = images(kept.folder)
    asked = short_of(monkeypatch, owner, method, rows)
    code, _, err = kept.run("--fresh")
    assert (code, err, max(asked), asked[-1]) == (0, "", 4, part)
    note = f"memory of cpu was short: micro-batches of 4 were computed in parts of {part}"
    notes = kept.content["notes"]
    assert [each for each in notes if each.startswith(note)] != []
    assert "may change last bits" in " ".join(notes)
    for own, other in zip(images(kept.folder), whole, strict=True):
        np.testing.assert_allclose(own.astype(float), other.astype(float), rtol=1e-4, atol=1e-4)


def test_a_single_image_that_does_not_fit_fails_the_job_with_one_sentence(kept, monkeypatch):
    short_of(monkeypatch, DiTModel, "decode", 0)
    code, out, _ = kept.run("--fresh")
    assert code == 1
    assert "failed: cpu has too little memory for a single image at a time" in out


def test_parts_are_joined_in_order_and_stay_small_enough():
    sizes = []

    def compute(x, y):
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError
        return x + y, x * y

    halving, x = Halving("cpu"), torch.arange(5.0)
    for _ in range(2):
        found = halving(compute, x, x)
        assert torch.equal(found[0], 2 * x)
        assert torch.equal(found[1], x * x)
    assert sizes == [5, 3, 2, 2, 1, 2, 2, 1]
    assert "micro-batches of 5 were computed in parts of 2" in halving.note
    with pytest.raises(BenchError, match="too little memory for a single image"):
        Halving("cpu")(lambda x: compute(torch.zeros(3), x), x)


def test_memory_that_ends_elsewhere_is_told_in_one_sentence():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 3 GiB.")
    told = "there is too little memory (CUDA out of memory. Tried to allocate 2 GiB)"
    assert reason_of(error) == told
    assert reason_of(MemoryError()) == "there is too little memory"
