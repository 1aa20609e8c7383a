"""Features of shards on disk: extracted once, noticed where they are not what was written."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.settings import sealed
from mpqbench.dit.sampling import SampleBatch
from mpqbench.job.features import FeatureFiles
from mpqbench.job.filling import Filling
from mpqbench.job.samples import SampleStore
from mpqbench.job.stages import distribution_of
from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import reference_of
from mpqbench.metrics.score import score

COUNT = 50


def nothing(done):
    """Advance no bar."""


class Made:
    """A sampler of given images, ``micro`` of them at a time."""

    def __init__(self, images, micro=10):
        self.images, self.classes = images, np.arange(len(images)) % 5
        self.protocol = SimpleNamespace(micro_batch=micro)
        self.model, self.notes = SimpleNamespace(texts=None), ()

    def batches(self, start, stop):
        for first in range(start, stop, self.protocol.micro_batch):
            part = slice(first, min(first + self.protocol.micro_batch, stop))
            latents = np.zeros((part.stop - first, 1, 2, 2), dtype=np.float32)
            yield SampleBatch(first, self.images[part], latents, self.classes[part])


@pytest.fixture
def images(make_images):
    return make_images(COUNT, seed=3)


@pytest.fixture
def samples(tmp_path, images):
    store = SampleStore(tmp_path / "samples" / "job", "fingerprint", 20)
    Filling(store, Made(images), nothing).fill(COUNT)
    return store


@pytest.fixture
def files(samples, extractor):
    return FeatureFiles(samples, extractor)


def kept(samples):
    return sorted(samples.folder.glob("*.safetensors"))


def arrays(files, count=COUNT):
    """All features, and the classes, of the first images."""
    features, classes = files.merged(files.samples.whole(count), np.arange(count), nothing)
    return [*(each.array() for each in features), classes]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_features_of_shards_are_those_of_one_pass(files, extractor, images):
    found, whole = arrays(files), extractor.extract(open_images(images))
    assert same(found, [*whole, np.arange(COUNT) % 5])
    assert [len(each) for each in arrays(files, 33)] == [33] * 4
    reference = reference_of(extractor.extract(open_images(images[::-1][:30])), "r", "0")
    kept_scores = distribution_of(files, reference, COUNT, nothing)
    expected = score(whole, reference, np.arange(COUNT) % 5)
    assert {k: (v.value, v.replicates) for k, v in kept_scores.items()} == expected


def test_what_is_whole_is_not_extracted_again(files, samples, monkeypatch):
    advanced = []
    before = arrays(files)
    contents = [path.read_bytes() for path in kept(samples)]
    monkeypatch.setattr(type(files.network), "extract", None)
    files.merged(samples.whole(COUNT), np.arange(COUNT), advanced.append)
    assert (sum(advanced), len(contents)) == (COUNT, 3)
    assert same(arrays(files), before)
    assert [path.read_bytes() for path in kept(samples)] == contents


def test_one_flipped_bit_is_noticed_or_changes_nothing(files, samples, monkeypatch):
    said = []
    monkeypatch.setattr(samples.reporter, "say", said.append)
    before = arrays(files)
    assert said == []
    path = kept(samples)[1]
    whole, rewritten = path.read_bytes(), 0
    for seed in range(60):
        rng, content = np.random.default_rng(seed), bytearray(whole)
        # Every second flip is in the header, where the names and the checksum are.
        most = len(content) if seed % 2 else 500
        content[int(rng.integers(most))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert same(arrays(files), before)
        rewritten += path.read_bytes() == whole
    assert rewritten > 50
    assert len(said) >= rewritten
    assert f"{path} is damaged, or of other images" in said[0]
    path.write_bytes(whole[:100])
    assert same(arrays(files), before)


def test_features_of_other_images_weights_code_or_devices_do_not_count(
    files, samples, images, fashion_weights, monkeypatch
):
    before = arrays(files)
    other = SampleStore(samples.folder, "another", 20)
    Filling(other, Made(255 - images), nothing).fill(COUNT)
    assert kept(samples) == []  # they went with their shards
    changed = arrays(FeatureFiles(other, files.network))
    assert not same(changed, before)
    for shard, path in zip(other.whole(COUNT), kept(samples), strict=True):
        assert shard.path.stem == path.name.partition(".")[0]
    monkeypatch.setattr("mpqbench.job.features.folder_digest", lambda folder: "other code")
    calls = []
    extract = type(files.network).extract
    monkeypatch.setattr(
        type(files.network),
        "extract",
        lambda *given, **named: calls.append(1) or extract(*given, **named),
    )
    assert same(arrays(FeatureFiles(other, files.network)), changed)
    assert (len(calls), len(kept(samples))) == (3, 3)  # written over
    arrays(FeatureFiles(other, load_extractor("fashion")))
    assert len(kept(samples)) == 6  # other weights: beside


def test_a_folder_apart_is_written_to_and_the_samples_are_left_alone(files, samples, tmp_path):
    apart = FeatureFiles(samples, files.network, tmp_path / "apart")
    before = arrays(apart)
    assert (kept(samples), len(list((tmp_path / "apart").iterdir()))) == ([], 3)
    arrays(files)
    forged = kept(samples)[0].read_bytes()
    kept(samples)[1].write_bytes(forged)  # of another shard
    again = FeatureFiles(samples, files.network, tmp_path / "again")
    assert same(arrays(again), before)
    assert len(list((tmp_path / "again").iterdir())) == 1
    anew = FeatureFiles(samples, files.network, tmp_path / "anew", reuse=False)
    assert same(arrays(anew), before)
    assert len(list((tmp_path / "anew").iterdir())) == 3


def test_a_damaged_shard_gives_no_features_and_a_job_of_more_images_takes_those_there_are(
    files, samples, tmp_path, images, monkeypatch
):
    before = arrays(files)
    more = SampleStore(tmp_path / "samples" / "more", "fingerprint", 20, [samples.folder])
    Filling(more, Made(images), nothing).fill(COUNT)
    monkeypatch.setattr(type(files.network), "extract", None)
    assert same(arrays(FeatureFiles(more, files.network)), before)
    samples.folder.joinpath("shard-00000020.npz").write_bytes(b"damaged")
    with pytest.raises(BenchError, match="damaged, as their checksum shows"):
        arrays(files)
    assert [shard.start for shard in samples.finished()] == [0, 40]


def planned(job, protocol, **fields):
    facts = {"job": job, "fingerprint": job, "model": "m", "method": job, "budget": "W4A4"}
    facts |= {"format": "", "seed": 0, "realization": 0, "samples": "fingerprint"}
    return facts | {"protocol": protocol} | fields


@pytest.fixture
def begun(tmp_path, images, fashion_weights, make_images):
    """A run of full precision and a method, of which 50 and 30 of 60 images are there."""
    np.savez(tmp_path / "reference.npz", make_images(40, seed=5))
    protocol = {"name": "p", "images": 60, "steps": 1, "features": "fashion"}
    protocol |= {"feature_weights": str(fashion_weights)}
    protocol |= {"reference": str(tmp_path / "reference.npz")}
    for job, made in (("full-precision", images), ("method", images[:, ::-1])):
        store = SampleStore(tmp_path / "run" / "samples" / job, "fingerprint", 20)
        Filling(store, Made(made), nothing).fill(COUNT)
    (tmp_path / "run" / "samples" / "method" / "shard-00000000.npz").unlink()  # by another worker
    jobs = [planned("full-precision", protocol), planned("method", protocol)]
    jobs += [planned("stale", protocol, samples="another"), planned("left", protocol)]
    store = SampleStore(tmp_path / "run" / "samples" / "stale", "fingerprint", 20)
    Filling(store, Made(images), nothing).fill(COUNT)
    text = json.dumps(sealed({"jobs": jobs}))
    (tmp_path / "run" / "jobs.json").write_text(text, encoding="utf-8")
    return tmp_path / "run"


def test_finished_shards_are_scored_and_no_record_is_written(begun, mpqbench, images, extractor):
    code, out, err = mpqbench("score", begun, "--partial", "--json")
    assert (code, err) == (0, "")
    full, method = json.loads(out)["jobs"]
    assert (full["job"], full["images"], full["of"]) == ("full-precision", 50, 60)
    assert (method["job"], method["images"], method["of"]) == ("method", 30, 60)
    reference = np.load(begun.parent / "reference.npz")["arr_0"]
    reference = reference_of(extractor.extract(open_images(reference)), "r", "0")
    classes = np.arange(20, 50) % 5
    sides = [extractor.extract(open_images(part[20:])) for part in (images[:, ::-1].copy(), images)]
    own, of_full = (score(side, reference, classes) for side in sides)
    for key, found in method["metrics"].items():
        assert found["value"] == own[key].value
        assert found["delta"] == own[key].value - of_full[key].value
    pairs = zip(own["fd"].replicates, of_full["fd"].replicates, strict=True)
    differences = np.array([a - b for a, b in pairs])
    spread = np.sum((differences - differences.mean()) ** 2) * (len(differences) - 1)
    assert method["metrics"]["fd"]["delta_ci"] == pytest.approx(
        1.96 * np.sqrt(spread / len(differences))
    )
    assert "delta" not in full["metrics"]["fd"]
    assert {path.name for path in begun.iterdir()} == {"jobs.json", "samples"}
    code, out, _ = mpqbench("score", begun, "--partial")
    assert (code, "30 of 60" in out, "They are no results" in out) == (0, True, True)


def test_mistakes_with_partial(begun, mpqbench, tmp_path):
    for arguments, sentence in (
        ((begun, "--partial", "--reference", "embedded"), "--reference: the protocol of the run"),
        ((tmp_path, "--partial"), "jobs.json is missing: give the folder of a run"),
        ((begun,), "Missing option '--reference'"),
    ):
        code, _, err = mpqbench("score", *arguments)
        assert (code, sentence in err) == (2, True), err
    jobs = json.loads((begun / "jobs.json").read_text(encoding="utf-8"))["jobs"]
    old = [{k: v for k, v in job.items() if k not in ("samples", "protocol")} for job in jobs]
    (begun / "jobs.json").write_text(json.dumps(sealed({"jobs": old})), encoding="utf-8")
    code, _, err = mpqbench("score", begun, "--partial")
    assert (code, "was written by an older version: start its command again" in err) == (2, True)
