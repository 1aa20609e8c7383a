"""A damaged shard of a finished job is told, left out of pictures, and sampled again."""

import json

import pytest


def cut(path):
    path.write_bytes(path.read_bytes()[:300])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


def swap(path):
    path.write_bytes(path.with_name("shard-00000004.npz").read_bytes())


def delete(path):
    path.unlink()


DAMAGES = [(flip, "full-precision"), (delete, "searched")]
MORE = [(cut, "searched"), (swap, "searched"), (delete, "full-precision")]
DAMAGES += [pytest.param(*each, marks=pytest.mark.slow) for each in MORE]


@pytest.mark.parametrize(("damage", "method"), DAMAGES)
def test_a_damaged_shard_is_left_out_by_report_and_sampled_again(kept, undrawn, damage, method):
    path = kept.only(f"samples/*{method}*/shard-00000000.npz")
    whole, other = path.read_bytes(), path.with_name("shard-00000004.npz")
    stamp = other.stat().st_mtime_ns
    damage(path)
    code, _, err = kept.mpqbench("report", kept.folder)
    assert (code, err.count("left out of the figures"), path.name in err) == (0, 1, True)
    code, out, _ = kept.mpqbench("verify", kept.folder)
    assert (code, f": {path} is" in out, "1 of them with faults" in out) == (1, True, True)
    code, out, _ = kept.run()
    assert (code, out.count("made again")) == (0, 1)
    assert "seed 0: done before" in out  # the other job
    assert path.read_bytes() == whole
    assert other.stat().st_mtime_ns == stamp  # only what was missing is sampled
    assert kept.mpqbench("report", kept.folder)[1:] == kept.mpqbench("report", kept.folder)[1:]
    assert kept.mpqbench("verify", kept.folder)[0] == 0


@pytest.mark.parametrize("text", ["{", '{"fingerprint": 1, "shards": {"0": 2}}'])
def test_a_damaged_list_of_shards_costs_samples_but_no_result(kept, text):
    owner = kept.only("samples/*searched*/fingerprint.json")
    before = {p.name: p.read_bytes() for p in owner.parent.iterdir()}
    owner.write_text(text, encoding="utf-8")
    assert kept.run()[0] == 0  # the shards are those of the record
    assert kept.run("--fresh")[0] == 0
    assert {p.name: p.read_bytes() for p in owner.parent.iterdir()} == before


def test_samples_that_come_out_otherwise_are_all_sampled_again(kept):
    folder = kept.only("samples/*searched*")
    owner = json.loads((folder / "fingerprint.json").read_text(encoding="utf-8"))
    owner["shards"]["0"][1] = "of another processor"
    del owner["checksum"]
    (folder / "fingerprint.json").write_text(json.dumps(owner), encoding="utf-8")
    (folder / "shard-00000000.npz").unlink()
    code, out, _ = kept.run()
    assert (code, out.count("sampling all images again")) == (0, 1)
    assert kept.mpqbench("verify", kept.folder)[0] == 0


def test_no_other_file_is_ever_removed(kept):
    folder = kept.only("samples/*searched*")
    names = ("notes.txt", "shard-00000002.npz", "grid.png")
    for name in names:
        (folder / name).write_text("mine", encoding="utf-8")
    assert kept.run("--fresh")[0] == 0
    assert [(folder / name).read_text(encoding="utf-8") for name in names] == ["mine"] * 3
