import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch_fidelity import FeatureExtractorBase, calculate_metrics, register_feature_extractor

from mpqbench.cli.score import score as command
from mpqbench.core.errors import BenchError, Diverged
from mpqbench.core.jackknife import deal_groups
from mpqbench.metrics.fashion_net import FashionNetwork
from mpqbench.metrics.features import Features
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import reference_of
from mpqbench.metrics.score import labels, metric_fingerprint, score


class Tensors(torch.utils.data.Dataset):
    """Images as torch-fidelity wants them: uint8 (C, H, W)."""

    def __init__(self, images):
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


class FashionExtractor(FeatureExtractorBase):
    """FashionNet as torch-fidelity wants feature networks."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None, **_options):
        super().__init__(name, features_list)
        self.network = FashionNetwork(Path(feature_extractor_weights_path))

    def forward(self, images):
        prepared = self.network.prepare(images.permute(0, 2, 3, 1).numpy())
        found = self.network.forward(prepared)._asdict()
        return tuple(found[feature].detach() for feature in self.features_list)

    @staticmethod
    def get_provided_features_list():
        return "pooled", "spatial", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return {"isc": "logits"}.get(metric, "pooled")

    @staticmethod
    def can_be_compiled():
        return False


@pytest.fixture
def sides(make_images):
    return make_images(60, seed=1, brightness=110), make_images(60, seed=2)


@pytest.fixture
def features(extractor, sides):
    return extractor.extract(open_images(sides[0]))


@pytest.fixture
def reference(extractor, sides):
    return reference_of(extractor.extract(open_images(sides[1])), "test", "0" * 16)


def test_every_metric_is_that_of_torch_fidelity(sides, features, reference, fashion_weights):
    register_feature_extractor("fashion", FashionExtractor)
    options = {"input1": Tensors(sides[0]), "input2": Tensors(sides[1]), "save_cpu_ram": True}
    options |= {"cuda": False, "verbose": False, "samples_shuffle": False, "isc_splits": 1}
    options |= {"kid_subsets": 1, "kid_subset_size": 60, "feature_extractor": "fashion"}
    options |= {"feature_extractor_weights_path": str(fashion_weights)}
    theirs = calculate_metrics(fid=True, isc=True, kid=True, prc=True, **options)
    spatial = calculate_metrics(fid=True, feature_layer_fid="spatial", **options)
    ours = score(features, reference)
    expected = {
        "fd": theirs["frechet_inception_distance"],
        "is": theirs["inception_score_mean"],
        "kid": theirs["kernel_inception_distance_mean"],
        "precision": theirs["precision"],
        "recall": theirs["recall"],
        "sfd": spatial["frechet_inception_distance"],
    }
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        assert ours[key].value == pytest.approx(value, rel=2e-4), key


def test_replicates_are_the_metrics_of_the_rest(features, reference):
    classes = np.arange(60) % 3
    scores = score(features, reference, classes)
    groups = deal_groups(60, classes)
    for group in (0, 7, 19):
        rest = Features(*(part[groups != group] for part in features))
        expected = score(rest, reference)
        for key in ("fd", "sfd", "is", "kid"):
            replicate = scores[key].replicates[group]
            assert replicate == pytest.approx(expected[key].value, rel=1e-6), key
    spread = np.array(scores["fd"].replicates) - np.mean(scores["fd"].replicates)
    assert scores["fd"].ci == pytest.approx(1.96 * np.sqrt(19 / 20 * np.sum(spread**2)))
    assert (scores["recall"].ci, scores["recall"].replicates) == (None, ())


def test_few_images_have_no_interval_and_one_image_no_metrics(features, reference):
    few = Features(*(part[:12] for part in features))
    assert {item.ci for item in score(few, reference).values()} == {None}
    with pytest.raises(BenchError, match="at least 2 images, not 1"):
        score(Features(features.pooled[:1]), reference)


def test_metrics_whose_input_is_absent_are_missing(features, reference):
    of_pooled = score(Features(features.pooled), reference)
    assert of_pooled.keys() == {"fd", "precision", "recall", "kid"}
    bare = reference_of(Features(features.pooled), "bare", "0" * 16)
    assert "sfd" not in score(features, bare)
    statistics_only = type(bare)("bare", bare.digest, bare.pooled)
    assert score(features, statistics_only).keys() == {"fd", "is"}


@pytest.mark.parametrize("part", ["pooled", "spatial", "logits"])
def test_features_that_are_not_finite_are_divergence(features, reference, part):
    broken = getattr(features, part).copy()
    broken[17, 3] = np.inf
    with pytest.raises(Diverged, match=f"{part} features of image 17 are not finite"):
        score(features._replace(**{part: broken}), reference)


def test_fingerprint_sees_everything_a_value_depends_on(extractor, features, reference):
    base = metric_fingerprint(extractor, 60, reference)
    assert metric_fingerprint(extractor, 60, reference) == base
    others = {
        metric_fingerprint(extractor, 61, reference),
        metric_fingerprint(extractor, 60, reference_of(features, "test", "1" * 16)),
    }
    for attribute in ("name", "digest"):
        held = getattr(extractor, attribute)
        setattr(extractor, attribute, "else")
        others.add(metric_fingerprint(extractor, 60, reference))
        setattr(extractor, attribute, held)
    assert len(others | {base}) == 5
    assert metric_fingerprint(extractor, 60, reference_of(features, "renamed", "0" * 16)) == base


def test_only_inception_gives_a_distance_the_name_fid():
    names = ("inception-adm", "clean-fid", "fashion", "anything-else")
    assert [labels(name)["fd"] for name in names] == ["FID", "FID-clean", "FD", "FD"]
    assert [labels(name)["sfd"] for name in names] == ["sFID", "sFID-clean", "sFD", "sFD"]


@pytest.fixture
def run(tmp_path, make_images, fashion_weights):
    """Runs the command on a folder of two shards against a reference of images."""
    np.savez(tmp_path / "reference.npz", make_images(50, seed=1))
    samples = tmp_path / "samples"
    samples.mkdir()
    for index, part in enumerate(np.split(make_images(40, seed=2, brightness=100), 2)):
        np.savez(samples / f"shard-{index}.npz", arr_0=part, classes=np.arange(20) % 10)

    def invoke(*options, reference="reference.npz"):
        arguments = [str(samples), "--reference", str(tmp_path / reference)]
        arguments += ["--feature-weights", str(fashion_weights), *options]
        return CliRunner().invoke(command, arguments, env={"COLUMNS": "100"})

    return invoke


def test_the_table_and_the_json_hold_count_reference_and_metrics(run):
    done = run()
    assert done.exit_code == 0, done.output
    weights = json.loads(run("--json").stdout)["features"]["weights"]
    assert "N = 40, reference reference.npz (50 images)" in done.output
    rows = [line.split("│")[1].strip() for line in done.output.splitlines() if "│" in line]
    names = ("FD", "sFD", "IS", "Precision", "Recall", "KID")
    assert rows == [f"{name} (fashion {weights[:8]})" for name in names]
    assert "FID" not in done.output
    result = json.loads(run("--json").stdout)
    assert (result["count"], result["reference"]["count"]) == (40, 50)
    assert result["features"]["name"] == "fashion"
    assert len(result["fingerprint"]) == 16
    distance = result["metrics"]["fd"]
    assert distance["label"] == f"FD (fashion {weights[:8]})"
    assert distance["ci"] > 0
    assert result["metrics"]["precision"]["ci"] is None
    assert f"{distance['value']:.5g}" in done.output
