"""A leaderboard whose records are other than measured is told; contributions are all or nothing."""

import json
import shutil

import pytest
import yaml

from mpqbench.core.settings import digest_of
from mpqbench.records.board import Manifest
from mpqbench.records.store import RecordStore

SUITE = """
name: mine
models: ['{}']
protocol: {{base: smoke, images: 8, steps: 2, micro_batch: 4, features: none}}
budgets: [W4A4]
methods:
  - {{name: searched, searcher: greedy, choices: [neighbours]}}
"""


class Board:
    """A leaderboard in a folder of its own, made from the run of ``kept``."""

    def __init__(self, folder, mpqbench):
        self.folder, self.mpqbench = folder, mpqbench

    def call(self, verb, *words):
        return self.mpqbench("leaderboard", verb, *words, "--folder", self.folder.parent)

    def build(self):
        code, out, err = self.call("build", self.folder.name)
        assert code == 0, err
        return out

    def findings(self):
        """The lines on what is wrong, and the notes."""
        code, out, err = self.call("check", self.folder.name)
        assert not err
        lines = out.splitlines()[:-1]
        notes = [line for line in lines if ": note: " in line]
        found = [line for line in lines if line not in notes]
        assert code == (1 if found else 0)
        return found, notes

    def edit(self, seal, **changes):
        """Edit the record of the searched method, with ``seal`` its checksum as well."""
        (path,) = self.folder.glob("records/*searched*")
        content = json.loads(path.read_text()) | changes
        if seal:
            del content["checksum"]
            content["checksum"] = digest_of(content)
        path.write_text(json.dumps(content, indent=2) + "\n")

    @property
    def content(self):
        (path,) = self.folder.glob("records/*searched*")
        return json.loads(path.read_text())


def board_of(run, folder, model, mpqbench, parts=("records", "allocations")):
    for part in parts:
        shutil.copytree(run / part, folder / part)
    (folder / "suite.yaml").write_text(SUITE.format(model))
    (folder / "about.md").write_text("---\nquestion: Which?\n---\n# Mine\n\nText.\n")
    return Board(folder, mpqbench)


@pytest.fixture
def board(made_run, tiny_folder, mpqbench, tmp_path):
    made = board_of(made_run / "run", tmp_path / "boards/mine", tiny_folder, mpqbench)
    made.build()
    return made


def forged(board):
    """Changes that somebody might make to a record, by name, with what finds each."""
    content = board.content
    costs, recipe = content["costs"], content["recipe"]
    return {
        "budget": ({"budget": "W2A2"}, "W2A2 is not kept"),
        "linear": ({"costs": costs | {"bitops_linear": 1}}, "bitops_linear is"),
        "satisfied": ({"costs": costs | {"satisfied": False}}, "is kept, the record"),
        "fingerprint": ({"fingerprint": "0" * 16}, "the fingerprint is 0000"),
        "metric": ({"metric_fingerprint": "0" * 16}, "metric fingerprint is 0000"),
        "recipe": ({"recipe": recipe | {"adaln": "FP"}}, "the recipe is not that of 'searched'"),
        "protocol": ({"protocol": content["protocol"] | {"steps": 3}}, "that of suite.yaml: steps"),
        "seed": ({"seed": 5}, "another name than its 's5' gives"),
    }  # fmt: skip


def test_a_leaderboard_as_it_was_built_is_clean_and_built_again_is_the_same(board):
    before = {path: path.read_bytes() for path in board.folder.rglob("*") if path.is_file()}
    found, notes = board.findings()
    assert (found, notes[0]) == ([], "mine: note: the samples were not kept (2 records)")
    assert not any("fingerprints not recomputed" in note for note in notes)
    assert "since the last build" not in board.build()
    assert {p: p.read_bytes() for p in board.folder.rglob("*") if p.is_file()} == before
    names = {"README.md", "leaderboard.csv", "leaderboard.md", "table.tex", "manifest.json"}
    assert names <= {path.name for path in before}


def test_a_score_changed_by_hand_is_found_by_its_checksum(board):
    board.edit(False, scores=board.content["scores"] | {"psnr": {"value": 99.0}})
    found, _ = board.findings()
    assert any("changed after it was written" in line for line in found)
    assert any("was changed since manifest.json was made" in line for line in found)


def test_a_score_with_a_forged_checksum_is_found_by_the_manifest_then_by_samples(board, made_run):
    board.edit(True, scores=board.content["scores"] | {"psnr": {"value": 99.0}})
    found, _ = board.findings()
    assert any("searched" in line and "was changed since" in line for line in found)
    assert any("leaderboard.csv: is stale" in line for line in found)
    assert "was changed since the last build" in board.build()
    assert board.findings()[0] == []  # a forger who builds again leaves nothing but history
    shutil.copytree(made_run / "run/samples", board.folder / "samples")
    found, _ = board.findings()
    assert any("psnr is" in line and "99.0" in line for line in found)


@pytest.mark.parametrize(
    "name",
    ["budget", "linear", "satisfied", "fingerprint", "metric", "recipe", "protocol", "seed"],
)
def test_what_can_be_recomputed_is_found_under_a_new_checksum_and_manifest(board, name):
    changes, sentence = forged(board)[name]
    board.edit(True, **changes)
    board.build()
    found, _ = board.findings()
    assert any(sentence in line and "searched" in line for line in found), found
    assert not any("manifest" in line for line in found)


def test_files_that_come_go_or_change_are_named(board):
    (path,) = board.folder.glob("allocations/*searched*")
    path.write_text(path.read_text().replace("W", "W ", 1))
    (record,) = board.folder.glob("records/*full-precision*")
    record.unlink()
    (board.folder / "extra.csv").write_text("a\n1\n")
    found = "\n".join(board.findings()[0])
    assert f"allocations/{path.name}: was changed since" in found
    assert f"records/{record.name}: is missing since" in found
    assert "extra.csv: was added since" in found
    assert f"{record.stem}: has no record, and suite.yaml has the job" in found


def test_stale_renderings_a_wrong_digest_and_links_are_named(board):
    with (board.folder / "README.md").open("a") as file:
        file.write("more")
    manifest = Manifest.read(board.folder)
    digests = manifest.files | {"suite.yaml": "0" * 16}
    text = manifest.model_copy(update={"files": digests}).text
    (board.folder / "manifest.json").write_text(text)
    assert len(board.findings()[0]) == 2
    (board.folder / "link").symlink_to("/etc/passwd")
    assert any("is a link" in line for line in board.findings()[0])


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("costs", {"bitops": 0, "bitops_per_image": 0}),
        ("costs", {"parameters": 0}),
        ("protocol", {"steps": 0}),
        ("protocol", {"sampler": {}}),
        ("recipe", {"weight_format": 3}),
        ("", {"allocation": None}),
        ("", {"protocol": {}}),
        ("", {"recipe": {}}),
        ("", {"model": "nowhere"}),
        ("", {"n_images": 10**12}),
    ],
)
def test_no_content_of_a_record_ends_a_check(board, part, changes):
    content = board.content
    board.edit(True, **({part: content[part] | changes} if part else changes))
    assert any("searched" in line for line in board.findings()[0])


def test_a_row_that_is_not_done_is_a_note(board):
    board.edit(True, status="diverged", reason="NaN at step 3")
    board.build()
    found, notes = board.findings()
    assert (found, "mine: note: diverged: NaN at step 3" in notes) == ([], True)


# Contributions.


@pytest.fixture
def halved(made_run, tiny_folder, mpqbench, tmp_path):
    """A leaderboard without the searched method, and the run that has it."""
    board = board_of(made_run / "run", tmp_path / "boards/mine", tiny_folder, mpqbench)
    for path in board.folder.rglob("*searched*.json"):
        path.unlink()
    board.build()
    shutil.copytree(made_run / "run", tmp_path / "run")
    (record,) = (tmp_path / "run/records").glob("*searched*")
    return board, record


def submitted(board, *paths, name="Ada <L.>"):
    before = {path: path.read_bytes() for path in board.folder.rglob("*") if path.is_file()}
    code, out, err = board.call("submit", "mine", *paths, "--as", name)
    after = {path: path.read_bytes() for path in board.folder.rglob("*") if path.is_file()}
    assert (before == after) == (code != 0)
    return code, out + err


def test_a_contribution_is_added_with_its_allocation_and_its_name(halved):
    board, record = halved
    assert len(board.findings()[0]) == 1  # the suite has a job without a record
    code, text = submitted(board, record)
    assert code == 0, text
    assert RecordStore(board.folder).read_allocation(record.stem)
    noted = yaml.safe_load((board.folder / "submissions.yaml").read_text())["jobs"][record.stem]
    assert noted["contributor"] == "Ada <L.>"
    board.build()
    assert board.findings()[0] == []
    assert "is from Ada &lt;L.>" in (board.folder / "README.md").read_text()
    code, text = submitted(board, record)
    assert (code, text.count("is in"), record.stem in text) == (2, 1, True)


def test_a_run_that_holds_a_job_of_the_leaderboard_is_refused_as_a_whole(halved):
    board, record = halved
    code, text = submitted(board, record.parents[1])
    assert (code, text.count(" is in "), "full-precision" in text) == (2, 1, True)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("budget", "W2A2 is not kept"),
        ("linear", "bitops_linear is"),
        ("metric", "another metric fingerprint"),
        ("recipe", "the recipe is not that of"),
    ],
)
def test_what_may_not_be_added(halved, name, sentence):
    board, record = halved
    run = Board(record.parents[1], None)
    run.edit(True, **forged(run)[name][0])
    code, text = submitted(board, record)
    assert (code, sentence in text) == (2, True), text


def test_contributions_with_unsafe_files_are_refused(halved, tmp_path):
    board, record = halved
    run = Board(record.parents[1], None)
    allocation = record.parents[1] / "allocations" / record.name
    kept = allocation.read_bytes()
    allocation.unlink()
    assert "allocation was not kept" in submitted(board, record)[1]
    allocation.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in submitted(board, record)[1]
    allocation.unlink()
    allocation.write_bytes(kept + b" " * 5 * 2**20)
    assert "is larger than 4 MiB" in submitted(board, record)[1]
    allocation.write_bytes(kept)
    assert "1 to 100 printable" in submitted(board, record, name="a\nb")[1]
    assert "is no file in records/" in submitted(board, allocation)[1]
    run.edit(True, files={"../../etc/passwd": "0" * 16})
    assert "names a file outside" in submitted(board, record)[1]
    run.edit(False, files={})
    assert "changed after it was written" in submitted(board, record)[1]
    assert submitted(board, tmp_path / "nothing")[0] == 2


def test_a_contribution_that_cannot_be_written_leaves_nothing(halved, monkeypatch):
    board, record = halved
    from mpqbench.core.errors import NotWritable
    from mpqbench.lab.leaderboard import submit

    def full(path, content):
        if path.name == "submissions.yaml":
            raise NotWritable("the disk is full")
        path.write_bytes(content)

    monkeypatch.setattr(submit, "write_atomic", full)
    code, text = submitted(board, record)
    assert (code, "the disk is full" in text) == (2, True)


def test_names_of_leaderboards(board, mpqbench, tmp_path):
    code, _, err = board.call("check", "mien")
    assert (code, "did you mean 'mine'" in err) == (2, True)
    assert mpqbench("leaderboard", "build", "--folder", tmp_path / "none")[0] == 2
