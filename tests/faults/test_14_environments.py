"""A committed leaderboard comes from one environment and a clean commit, or is listed as mixed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
import yaml
from records_of import PROVENANCE, record_of

from mpqbench.core.sources import harness_digest
from mpqbench.records.environment import environment_of, not_citable
from mpqbench.records.provenance import collect
from mpqbench.report.page_data import measured, read_records

ROOT = Path(__file__).parents[2]
LEADERBOARDS = ROOT / "leaderboards"
FOLDERS = sorted(folder for folder in LEADERBOARDS.iterdir() if any(folder.rglob("records/*.json")))
MIXED = yaml.safe_load((LEADERBOARDS / "mixed.yaml").read_text(encoding="utf-8"))
CLEAN = {"cpu": "AMD EPYC", "torch": "2.15.0", "harness": "h1", "git": "0" * 40, "threads": 1}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_leaderboard_is_citable_or_listed_with_the_reason(folder):
    reasons = not_citable([record for batch in read_records(folder) for record in batch])
    if folder.name in MIXED:
        assert reasons, f"{folder.name} can be cited now: take it off {LEADERBOARDS}/mixed.yaml"
        assert len(MIXED[folder.name]) > 20
    else:
        assert not reasons, f"{folder.name}: {'; '.join(reasons)}: measure it again"


def test_only_leaderboards_are_listed():
    assert set(MIXED) <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"threads": 8}, None),
        ({"torch": "2.14.1"}, "2 rows come from 2 environments"),
        ({"cpu": "Intel Xeon"}, "2 rows come from 2 environments"),
        ({"harness": "h2"}, "2 rows come from 2 environments"),
        ({"git": "0" * 40 + "-dirty"}, "1 rows come from sources that were not committed"),
        ({"git": None}, "of 1 rows the commit is unknown"),
        ({"harness": None, "git": "1" * 40}, "2 rows come from 2 environments"),
    ],
)
def test_what_forbids_citing_rows_together(changed, reason):
    records = [
        record_of("full-precision", "FP", 5.0, provenance=PROVENANCE | CLEAN),
        record_of("rtn", "W4A4", 6.0, provenance=PROVENANCE | CLEAN | changed),
    ]
    found = not_citable(records)
    assert (reason in found) if reason else not found


def test_a_page_says_environment_and_commit_of_every_row():
    formats = {"granularity": "token", "symmetric": True, "group": None}
    recipe = {"name": "rtn", "weight_format": formats, "activation_format": formats}
    records = [
        record_of("full-precision", "FP", 5.0, provenance=PROVENANCE | CLEAN),
        record_of("rtn", "W4A4", 6.0, provenance=PROVENANCE | CLEAN | {"git": "1-dirty"},
                  recipe=recipe),
    ]  # fmt: skip
    text = "\n".join(measured(records))
    assert f"cpu, sources h1, commit {'0' * 40}: full-precision FP seed 0." in text
    assert "commit 1-dirty: rtn W4A4 seed 0." in text
    assert "Not to be cited" in text
    assert "Not to be cited" not in "\n".join(measured(records[:1]))


def test_a_record_knows_its_processor_device_and_harness():
    found = collect(datetime.now(UTC), "cpu")
    assert found.harness == harness_digest()
    assert found.device == "cpu"
    assert found.processor is not None
    assert torch.backends.cpu.get_cpu_capability() in found.processor
    own = record_of("rtn", "W4A4", 1.0, provenance=found.model_dump())
    assert environment_of(own).threads is None
    trained = {"name": "rtn", "tuner": {"name": "lsq", "params": {}}}
    own = record_of("rtn", "W4A4", 1.0, provenance=found.model_dump(), recipe=trained)
    assert environment_of(own).threads == torch.get_num_threads()
