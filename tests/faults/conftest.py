"""A small run on disk, and the command that made it."""

import json
import shutil

import pytest

from mpqbench.core.settings import digest_of

OPTIONS = {"images": 8, "steps": 2, "micro_batch": 4, "batch_size": 4, "features": "none"}
METHOD = """
name: kept
protocol: smoke
budgets: [W4A4]
methods:
  - {name: searched, searcher: greedy, choices: [neighbours]}
"""


class Kept:
    """A copy of a run in ``folder``, and its command line."""

    def __init__(self, folder, suite, model, mpqbench):
        self.folder, self.mpqbench = folder, mpqbench
        options = [[f"--{name.replace('_', '-')}", value] for name, value in OPTIONS.items()]
        flat = [word for pair in options for word in pair]
        self.command = ["run", suite, "--model", model, *flat, "--out", folder]

    def run(self, *more):
        return self.mpqbench(*self.command, *more)

    def only(self, pattern):
        """The only file that ``pattern`` names."""
        (path,) = self.folder.glob(pattern)
        return path

    def edit(self, seal=False, **changes):
        """Edit the record of the searched method, with ``seal`` its checksum as well."""
        path = self.only("records/*searched*")
        content = json.loads(path.read_text(encoding="utf-8")) | changes
        if seal:
            del content["checksum"]
            content["checksum"] = digest_of(content)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    @property
    def content(self):
        return json.loads(self.only("records/*searched*").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def made_run(tiny_folder, tmp_path_factory):
    from mpqbench.api import run

    folder = tmp_path_factory.mktemp("kept")
    (folder / "kept.yaml").write_text(METHOD, encoding="utf-8")
    records = run(
        str(folder / "kept.yaml"), models=[str(tiny_folder)], out=folder / "run", **OPTIONS
    )
    assert {record.status for record in records} == {"done"}
    return folder


@pytest.fixture
def kept(made_run, tiny_folder, mpqbench, tmp_path):
    """A copy of a run of full precision and of one search."""
    shutil.copytree(made_run / "run", tmp_path / "run")
    return Kept(tmp_path / "run", made_run / "kept.yaml", tiny_folder, mpqbench)


@pytest.fixture
def kept_words(made_run, tiny_folder):
    """The command of ``kept`` without its folder."""
    return Kept(None, made_run / "kept.yaml", tiny_folder, None).command[:-2]
