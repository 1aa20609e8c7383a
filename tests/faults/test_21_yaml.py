"""Odd YAML is one sentence with the file and, where malformed, the line; never a traceback."""

import itertools
import os
import time

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.yaml_text import dump_yaml, parse_yaml, read_yaml
from mpqbench.lab.suites import load_suite

SUITE = "name: s\nmethods: [rtn]\nbudgets: [W4A4]\n"
LETTERS = "abcdefgh"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in itertools.pairwise(LETTERS)
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: !!int x", "line 1, column 4: 'x' is no whole number"),
        ("a: " + "9" * 5000, "line 1, column 4: .* or too large"),
        ("a: 0x" + "f" * 20000, "line 1, column 4: .* or too large"),
        ("a: 1e400", "line 1, column 4: '1e400' is no number, or too large"),
        ("a: !!timestamp 2001-01-01", "the tag 'timestamp' is not for settings"),
        ("a: !!python/object/apply:os.system ['echo hi']", "the tag 'python"),
        ("a: !!binary aGk=", "the tag 'binary'"),
        ("&a [*a]", r"line 1, column 5: the alias \*a is inside its own anchor"),
        ("a: &a {b: [*a]}", "inside its own anchor"),
        ("a: *b", "undefined alias 'b'"),
        (BOMB, "data has more than 200000 values, aliases written out"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested deeper than 50 levels"),
        ("- " * 3000, "nested deeper than 50 levels"),
        ("a: \x00", "line 1: the character #x00 is not allowed"),
        ('a: "\\0"', "is not allowed in a text"),
        ('a: "\\e[2J"', "is not allowed in a text"),
        ('a: "\\ud800"', "is not allowed in a text"),
        ('a: "\\U00110000"', "line 1: an escape stands for no character"),
        ("a:\n\tb: 1", "line 2, column 1: .*cannot start any token"),
        ("a: 1\n---\nb: 2", "line 2, column 1: expected a single document"),
        ("[a]: 1", "a key is a list or a mapping"),
        ("a: [1\nb: 2", "line 2"),
        (b"a\n# f\xfcr", r"line 2: byte 0xfc is not UTF-8: save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "is UTF-16: save the file as UTF-8"),
        ("a: 1".encode("utf-16-le"), "the character #x00 is not allowed"),
    ],
)
def test_malformed(text, sentence):
    began = time.monotonic()
    with pytest.raises(BenchError, match=sentence) as error:
        parse_yaml(text, "f.yaml")
    assert str(error.value).startswith("f.yaml")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    assert time.monotonic() - began < 10


def test_words_are_what_they_say():
    assert parse_yaml("{1e-3: 1, 0x1: 2, true: 3}", "f") == {"1e-3": 1, "0x1": 2, True: 3}
    text = "[2001-99-99, 2001-01-01, 0b_, 010, 12:30, 1e-3, .5, 0x10, 1_000, yes, ~, 'ä']"
    data = ["2001-99-99", "2001-01-01", "0b_", "010", "12:30", 1e-3, 0.5, 16, 1000, True, None, "ä"]
    assert parse_yaml(text, "f") == data
    assert parse_yaml(b"\xef\xbb\xbf" + text.encode(), "f") == data
    assert parse_yaml(dump_yaml(data), "f") == data
    texts = {"1e-3": "1e3", "yes": "010", "0o7": ".inf", "<<": "~"}
    assert parse_yaml(dump_yaml(texts), "f") == texts


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("protocol: {base: [1]}", r"unknown protocol \[1\]"),
        ("protocol: {base: null}", "unknown protocol None"),
        ("protocol: [quick]", "protocol must be"),
        ("methods: [[rtn]]", r"methods\[0\] must be a text or a mapping"),
        ("methods: [1]", r"methods\[0\] must be a text or a mapping"),
        ("models: [null]", r"models\[0\] must be a text"),
        ("models: ['']", r"models\[0\]"),
        ("models: []", "models"),
        ("1: 2", "unknown key '1'"),
        ('"a b\\nc": 2', "unknown key"),
        ("budgets: [4]", r"budgets\[0\] must be a text"),
    ],
)
def test_a_suite_of_another_shape(tmp_path, lines, sentence):
    path = tmp_path / "suite.yaml"
    kept = [x for x in SUITE.splitlines() if not lines.startswith(x.partition(":")[0])]
    path.write_text("\n".join([*kept, lines]), encoding="utf-8")
    with pytest.raises(BenchError, match=rf"suite\.yaml: .*{sentence}|{sentence}") as error:
        load_suite(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a", "hello", "~"])
def test_no_suite_at_all(tmp_path, text):
    path = tmp_path / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchError, match="a suite is a mapping"):
        load_suite(str(path))


def test_only_regular_files_are_read(tmp_path):
    fifo = tmp_path / "fifo.yaml"
    os.mkfifo(fifo)
    with pytest.raises(BenchError, match=r"fifo\.yaml is no regular file"):
        read_yaml(fifo)
    with pytest.raises(BenchError, match="is a folder"):
        read_yaml(tmp_path)
    with pytest.raises(BenchError, match="cannot be read"):
        read_yaml(tmp_path / ("x" * 300))
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    with pytest.raises(BenchError):
        read_yaml(tmp_path / "loop.yaml")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"# " + b"x" * 9 * 2**20)
    with pytest.raises(BenchError, match="larger than 8 MiB"):
        read_yaml(large)


def test_a_pipe_from_the_shell_is_read(tmp_path):
    read, write = os.pipe()
    os.write(write, SUITE.encode())
    os.close(write)
    assert load_suite(f"/dev/fd/{read}").methods == ("rtn",)
    os.close(read)
