"""Samples on disk come back in batches of any size."""

import numpy as np
import pytest

from mpqbench.dit.sampling import SampleBatch
from mpqbench.job.samples import SampleStore


@pytest.mark.parametrize("size", [1, 3, 4, 7, 20])
@pytest.mark.parametrize("count", [1, 5, 9, 10])
def test_batches_do_not_depend_on_the_shards(tmp_path, size, count):
    store = SampleStore(tmp_path / "job", "mark", batch_size=4)
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    latents, classes = images.astype(np.float32), np.arange(10)
    for start, stop in ((0, 4), (4, 5), (5, 10)):
        part = slice(start, stop)
        store._write(start, [SampleBatch(start, images[part], latents[part], classes[part])])
    batches = list(store.batches(count, size))
    assert [batch.first for batch in batches] == list(range(0, count, size))
    assert all(len(batch.images) == size for batch in batches[:-1])
    for name, whole in (("images", images), ("latents", latents), ("classes", classes)):
        joined = np.concatenate([getattr(batch, name) for batch in batches])
        assert np.array_equal(joined, whole[:count])
