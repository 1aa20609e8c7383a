"""Shards of one job: taken over from others, never twice, and told alike where a model diverges."""

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from mpqbench.core.claims import Claims
from mpqbench.core.errors import Diverged
from mpqbench.dit.sampling import SampleBatch
from mpqbench.job import filling
from mpqbench.job.filling import Filling, missing
from mpqbench.job.samples import SampleStore

SHARDS = [(0, 4), (4, 8), (8, 10)]


class Numbers:
    """Samples image i as the number i, two at a time; image ``wrong`` diverges."""

    protocol, model = SimpleNamespace(micro_batch=2), SimpleNamespace(texts=None)
    notes: tuple[str, ...] = ()

    def __init__(self, *wrong, told=lambda start: None):
        self.wrong, self.began, self.told = wrong, [], told

    def batches(self, start, stop):
        self.began.append(start)
        self.told(start)
        for first in range(start, stop, 2):
            if {first, first + 1} & {*self.wrong}:
                raise Diverged(f"the latent of image {first} is not finite")
            numbers = np.arange(first, min(first + 2, stop))
            images = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 2, 2, 1))
            yield SampleBatch(first, images.astype(np.uint8), images.astype(np.float32), numbers)


@pytest.fixture
def store(tmp_path):
    return SampleStore(tmp_path / "samples", "f", batch_size=4)


@pytest.fixture
def claims(tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "POLL_SECONDS", 0.01)
    return Claims(tmp_path / "claims")


def offer(claims):
    @contextmanager
    def offered(shards):
        assert shards == SHARDS
        yield claims

    return offered


def fill(store, sampler, claims, advance=lambda images: None):
    Filling(store, sampler, advance).fill(10, offer(claims))


def test_a_shard_of_another_process_is_taken_over(store, claims):
    Filling(store, Numbers(), lambda images: None).leave(SHARDS[1])
    assert missing(store, SHARDS) == [SHARDS[0], SHARDS[2]]
    sampler, advanced = Numbers(), []
    fill(store, sampler, claims, advanced.append)
    assert (sampler.began, sum(advanced)) == ([0, 8], 10)
    assert missing(store, SHARDS) == []
    assert [n for batch in store.shards(10) for n in batch.classes] == list(range(10))
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "fingerprint.json", *(f"shard-{start:08d}.npz" for start, _ in SHARDS)
    ]  # fmt: skip
    other = SampleStore(store.folder.with_name("alone"), "f", batch_size=4)
    fill(other, Numbers(), claims)
    assert other.digests(10) == store.digests(10)


def test_what_another_process_did_otherwise_is_noted(store, claims):
    other = Numbers()
    other.notes = ("memory of cpu was short",)
    Filling(store, other, lambda images: None).leave(SHARDS[1])
    fill(store, Numbers(), claims)
    assert (store.notes(4), store.notes(10)) == ([], ["memory of cpu was short"])


@pytest.mark.parametrize("how", ["damaged", "another fingerprint"])
def test_a_shard_that_is_not_whole_is_sampled_here(store, claims, how):
    other = store if how == "damaged" else SampleStore(store.folder, "g", batch_size=4)
    Filling(other, Numbers(), lambda images: None).leave(SHARDS[1])
    if how == "damaged":
        (path,) = store.folder.glob("part-*")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    sampler = Numbers()
    fill(store, sampler, claims)
    assert sampler.began == [0, 4, 8]
    assert [n for batch in store.shards(10) for n in batch.classes] == list(range(10))


def test_what_others_hold_is_waited_for(store, claims):
    others = Filling(store, Numbers(), lambda images: None)
    begun, free = threading.Event(), threading.Event()

    def other():
        with claims.hold("00000004-00000008", "f") as holder:
            assert holder is None
            begun.set()
            free.wait(10)
            time.sleep(0.05)
            others.leave(SHARDS[1])

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(10)
    sampler = Numbers(told=lambda start: free.set())
    fill(store, sampler, claims)
    thread.join()
    assert sampler.began == [0, 8]
    assert store.holds(10)


def test_the_lowest_image_that_diverges_is_told_whoever_has_its_shard(store, claims):
    with pytest.raises(Diverged) as alone:
        fill(store, Numbers(2, 9), claims)
    store.clear()
    free = threading.Event()

    def other():  # a process that gives its shard back, as its model diverges
        with claims.hold("00000000-00000004", "f"):
            begun.set()
            free.wait(10)

    begun = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(10)
    sampler = Numbers(2, 9, told=lambda start: free.set() if start == 8 else None)
    with pytest.raises(Diverged) as shared:
        fill(store, sampler, claims)
    thread.join()
    assert sampler.began == [4, 8, 0]
    assert str(shared.value) == str(alone.value) == "the latent of image 2 is not finite"
