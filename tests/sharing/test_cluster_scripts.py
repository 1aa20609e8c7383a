"""The scripts and manifests for clusters name real commands and options, and are what docs say."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from mpqbench.cli.main import group

ROOT = Path(__file__).parents[2]
CLUSTERS, PAGE = ROOT / "examples" / "clusters", ROOT / "docs" / "clusters.md"


def blocks(language):
    """The code blocks of the page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def check_words(words):
    """Fail where the options of a command line are not those of its command."""
    program, verb, *rest = words
    if program == "mpqbench":
        command = group.get_command(None, verb)
    else:
        distributed = pytest.importorskip("distributed.cli.dask_worker")
        from distributed.cli import dask_scheduler

        assert program == "dask"
        command = {"worker": distributed.main, "scheduler": dask_scheduler.main}[verb]
    command.make_context(verb, [str(word) for word in rest])


def containers(manifest):
    """The containers below any key of a manifest."""
    if isinstance(manifest, dict):
        yield from manifest.get("containers", [])
        manifest = list(manifest.values())
    if isinstance(manifest, list):
        for part in manifest:
            yield from containers(part)


@pytest.mark.parametrize("name", ["kubernetes-job.yaml", "kubernetes-dask.yaml"])
def test_a_manifest_parses_and_names_real_commands(name):
    parts = list(yaml.safe_load_all((CLUSTERS / name).read_text(encoding="utf-8")))
    assert all({"apiVersion", "kind", "metadata", "spec"} <= set(part) for part in parts)
    found = list(containers(parts))
    assert found
    for container in found:
        check_words([*container["command"], *container["args"]])
    labels = [p["spec"]["template"]["metadata"]["labels"] for p in parts if "Deploy" in p["kind"]]
    for part in parts:
        if part["kind"] == "Service":
            assert part["spec"]["selector"] in labels
            assert f"{part['metadata']['name']}:8786" in str(found)


def test_commands_of_the_page_are_real():
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    lines += [line[5:] for line in "".join(blocks("bash")).splitlines() if line.startswith("srun")]
    checked = 0
    for words in (shlex.split(line.replace("CUDA_VISIBLE_DEVICES=0 ", "")) for line in lines):
        if words[:1] in (["mpqbench"], ["dask"]):
            check_words(words)
            checked += 1
    assert checked >= 8


def test_the_job_array_is_a_script_of_bash():
    (script,) = (block for block in blocks("bash") if "srun" in block)
    found = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_batch_job_of_dask_jobqueue_is_that_of_the_page(tmp_path):
    pytest.importorskip("dask_jobqueue")
    spec = importlib.util.spec_from_file_location("slurm", CLUSTERS / "slurm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.cluster(tmp_path) as cluster:
        script = cluster.job_script()
    (wanted,) = (block for block in blocks("bash") if "dask_worker" in block)
    lines = script.replace(str(tmp_path), "/shared/runs/mine").splitlines()
    *directives, worker = [line for line in lines if line and not line.startswith("#!")]
    worker = re.sub(r"^\S+ ", "python ", worker)
    assert "--protocol tls:// --tls-ca-file" in worker
    worker = re.sub(r" (tls://\S+|--name \S+|--protocol.*)", "", worker)
    assert [*directives, worker] == wanted.splitlines()
