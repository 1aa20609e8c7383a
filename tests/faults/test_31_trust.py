"""Files of others are data: no code of theirs is run, and nothing is written outside a folder."""

import ast
import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mpqbench

ROOT = Path(mpqbench.__file__).parents[1]
PARTS = ("mpqbench", "methods", "baselines")
SOURCES = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py"))
# Both ends of a pipe between two processes of one command.
OWN_PIPE = {"pickle.load": ("worker.py",)}
FORBIDDEN = {
    "eval", "exec", "pickle.load", "pickle.loads", "marshal.loads", "dill.load", "joblib.load",
    "shutil.unpack_archive", "yaml.load", "yaml.unsafe_load", "pd.read_pickle",
}  # fmt: skip


def called(node):
    """The name that a call is written with, as ``torch.load``; "" for another expression."""
    parts, at = [], node.func
    while isinstance(at, ast.Attribute):
        parts.append(at.attr)
        at = at.value
    return ".".join([at.id, *reversed(parts)]) if isinstance(at, ast.Name) else ""


def faults(tree, name):
    """What a file does that could run code of a file that is read, or unpack files."""
    imported = {
        alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
    }
    archives = bool({"zipfile", "tarfile"} & imported)  # networks extract features
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        call, given = called(node), {k.arg: k.value for k in node.keywords}

        def constant(key, given=given):
            return given[key].value if isinstance(given.get(key), ast.Constant) else None

        if call in FORBIDDEN and name not in OWN_PIPE.get(call, ()):
            yield node.lineno, call
        if call == "torch.load" and constant("weights_only") is not True:
            yield node.lineno, "torch.load without weights_only=True"
        if call in ("np.load", "np.lib.format.read_array") and constant("allow_pickle") is not None:
            yield node.lineno, "allow_pickle"
        if {"trust_remote_code", "custom_pipeline"} & {*given}:
            yield node.lineno, "code of a model"
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method == "extractall" or (method == "extract" and archives):
            yield node.lineno, method


def test_no_file_that_is_read_can_run_code():
    assert len(SOURCES) > 200
    found = {
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in SOURCES
        for line, what in faults(ast.parse(path.read_text(encoding="utf-8")), path.name)
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(f)", "torch.load(f, weights_only=False)", "pickle.loads(x)", "eval(x)",
        "a.extractall(p)", "np.load(f, allow_pickle=True)",
        "M.from_pretrained(p, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_check_finds_what_may_not_be(code):
    assert len(list(faults(ast.parse(code), "a.py"))) == 1


def hostile(path):
    """An archive of images with members that lead out of the folder, and a link."""
    array = io.BytesIO()
    np.save(array, np.zeros((4, 32, 32, 1), np.uint8))
    link = zipfile.ZipInfo("link.npy")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", array.getvalue())
        for name in ("../outside.npy", str(path.parent / "absolute.npy"), "..\\windows.npy"):
            archive.writestr(name, array.getvalue())
        archive.writestr(link, "/etc/passwd")


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_an_archive_writes_nothing(tmp_path, mpqbench):
    place = tmp_path / "in"
    place.mkdir()
    hostile(place / "images.npz")
    before = everything(tmp_path)
    code, out, err = mpqbench("score", place / "images.npz", "--features", "fashion")
    assert code in (0, 2)
    assert (out != "") == (code == 0)
    assert err.count("error: ") == (code == 2)
    assert everything(tmp_path) == before


EVIL = "__import__('os').system('touch {place}/ran')"


def test_a_record_runs_no_code(kept, tmp_path):
    text = EVIL.format(place=tmp_path)
    recipe = kept.content["recipe"] | {
        "summary": text,
        "source": "!!python/object/apply:os.system [x]",
    }
    kept.edit(seal=True, recipe=recipe, notes=[text, "{{" + text + "}}", "<script>x</script>"])
    for words in (("report",), ("verify",), ("status",)):
        code, _, err = kept.mpqbench(*words, kept.folder)
        assert (code in (0, 1), "Traceback" in err) == (True, False), (words, err)
    assert not (tmp_path / "ran").exists()


# The last has no end: a digest of the file would never come.
@pytest.mark.parametrize("name", ["../outside", "a/../../b", "..\\w", "/tmp/absolute", "/dev/zero"])
@pytest.mark.parametrize("field", ["files", "job"])
def test_a_record_names_no_file_outside_its_folder(kept, tmp_path, name, field):
    path = kept.edit(seal=True, **{field: {name: "0" * 16} if field == "files" else name})
    code, _, err = kept.mpqbench("merge", kept.folder, "--out", tmp_path / "merged")
    assert (code, err.count("error: "), str(path) in err) == (2, 1, True)
    assert [each.name for each in tmp_path.iterdir()] == ["run"]
    assert f"{path}" in kept.mpqbench("verify", kept.folder)[1]


def test_a_merge_takes_no_other_files_of_a_folder_of_samples(kept, tmp_path):
    folder = kept.only("samples/*searched*")
    (folder / "private.txt").write_text("of the user", encoding="utf-8")
    code, _, err = kept.mpqbench("merge", kept.folder, "--samples", "--out", tmp_path / "merged")
    assert (code, err) == (0, "")
    merged = tmp_path / "merged" / "samples" / folder.name
    names = {each.name for each in merged.iterdir()}
    assert "private.txt" not in names
    assert {"fingerprint.json", "shard-00000000.npz", "shard-00000004.npz"} <= names
