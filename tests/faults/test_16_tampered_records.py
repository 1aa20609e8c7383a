"""A record that is not what was written is neither shown nor done before, and is found."""

import json

import pytest

COSTS = ("bitops_linear", "parameters", "satisfied")


def edits(content):
    """Records that somebody edited by hand, by name."""
    scores = content["scores"]
    return {
        "score": {"scores": scores | {"psnr": {"value": 99.0}}},
        "budget": {"budget": "W8A8"},
        "status": {"status": "failed", "reason": "edited"},
    }


@pytest.mark.parametrize("name", ["score", "budget", "status"])
def test_an_edited_record_is_found_not_shown_and_made_again(kept, name):
    before = kept.content
    path = kept.edit(**edits(before)[name])
    code, _, err = kept.mpqbench("report", kept.folder)
    assert (code, err.count(str(path)), err.count("changed after it was written")) == (2, 1, 1)
    code, out, _ = kept.mpqbench("verify", kept.folder)
    assert (code, out.count("changed after it was written")) == (1, 1)
    code, out, _ = kept.run()
    assert (code, out.count("the job is run again"), out.count("done before")) == (0, 1, 2)
    assert len(list((kept.folder / "replaced").iterdir())) == 1
    assert kept.content["scores"] == before["scores"]
    assert kept.mpqbench("verify", kept.folder)[0] == 0


def test_an_edited_record_of_another_suite_is_refused_before_the_first_job(kept):
    path = kept.edit(budget="W8A8")
    other = kept.folder / "records" / "other.json"
    path.rename(other)
    code, out, err = kept.run("--fresh")
    assert (code, out.count("seed 0")) == (2, 0)
    assert str(other) in err


@pytest.mark.parametrize("name", ["score", "budget", "bitops_linear", "satisfied"])
def test_an_edited_record_with_a_new_checksum_is_found_by_recomputing(kept, name):
    content = kept.content
    changes = edits(content).get(name)
    if name in COSTS:
        value = not content["costs"][name] if name == "satisfied" else content["costs"][name] // 2
        changes = {"costs": content["costs"] | {name: value}}
    if name == "budget":
        changes = {"budget": "W2A2"}
    kept.edit(seal=True, **changes)
    code, out, _ = kept.mpqbench("verify", kept.folder)
    assert code == 1
    word = {"score": "psnr is", "budget": "W2A2 is not kept", "satisfied": "W4A4 is kept"}
    assert word.get(name, f"{name} is") in out


def test_an_edited_allocation_is_found_left_out_and_made_again(kept, undrawn):
    path = kept.only("allocations/*searched*")
    before = path.read_bytes()
    groups = json.loads(before)
    path.write_text(json.dumps(dict.fromkeys(groups, "W8A8")), encoding="utf-8")
    code, out, _ = kept.mpqbench("verify", kept.folder)
    assert (code, out.count(f"{path} is damaged")) == (1, 1)
    code, _, err = kept.mpqbench("report", kept.folder)
    assert (code, err.count("left out of the figures")) == (0, 1)
    assert str(path) in err
    assert kept.run()[0] == 0
    assert path.read_bytes() == before


def test_a_record_under_another_name_is_told_and_set_aside(kept):
    path = kept.only("records/*searched*")
    path.rename(kept.only("records/*full-precision*"))
    code, out, _ = kept.mpqbench("verify", kept.folder)
    assert (code, out.count("holds job")) == (1, 1)
    code, out, _ = kept.run()
    assert (code, out.count("is run again"), out.count("done before")) == (0, 1, 1)
    assert kept.mpqbench("verify", kept.folder)[0] == 0


def test_a_record_without_a_checksum_is_shown_but_not_done_before(kept):
    path = kept.only("records/*searched*")
    content = kept.content
    del content["checksum"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert kept.mpqbench("report", kept.folder)[0] == 0
    assert "has no checksum" in kept.mpqbench("verify", kept.folder)[1]
    assert kept.run()[1].count("done before") == 2  # full precision, and the search of the other
