"""Odd YAML, made from a seed: a suite is loaded and planned, or refused in one sentence."""

import random
import re
import string
import time

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.registry import Registry, discover
from mpqbench.core.suite import Suite
from mpqbench.core.yaml_text import dump_yaml, parse_yaml, read_yaml
from mpqbench.lab.suite import plan
from mpqbench.lab.suites import built_in_suites, load_suite

VALUES = r"""
1 ; 0 ; -1 ; 1.0 ; 1e3 ; 1e-3 ; 1e400 ; -0.0 ; .inf ; -.inf ; .nan ; 0x10 ; 0b_ ; 0o7 ; 010 ; 1_000
12:30 ; 9999999999999999999 ; 999999999999999999999999999999999999999 ; true ; yes ; No ; on ; ~
null ; 2001-99-99 ; 2001-01-01 ; = ; << ; '' ; "" ; 'a' ; "\0" ; "\ud800" ; "\e[0m" ; "\U00110000"
"a\nb" ; 'a b' ; ../x ; /etc/passwd ; .hidden ; CON ; rtn ; gptq ; W4A4 ; w3a3 ; W4A4g7 ; W99A99
2.5MB ; 0MB ; 1e3MB ; 3b ; FP ; W4A4+FP ; quick ; smoke ; [] ; {} ; [[]] ; [1] ; [rtn] ; {a: 1}
{base: rtn} ; {base: rtn, name: q} ; {base: [1]} ; {base: quick} ; [W4A4, W3A3] ; &a ; *a ; &b [*b]
[{base: rtn, name: q, evaluations: .inf}] ; [{base: gptq, name: q, rounding: {name: gptq, x: 1}}]
[{base: gptq, name: q, rounding: {name: gptq, damping: true}}] ; [{base: rtn, name: q, choices: 1}]
!!int ; !!int x ; !!str ; !!binary aGk= ; !!timestamp 2001-01-01 ; !!python/name:os.system ; !x ; %
@ ; ` ; > ; - ; ? ; : ; # ; ä ; 图 ; 😀 ; fashion-dit ; none ; neighbours ; ilp ; nearest
"""
SCALARS = re.split(r" ; |\n", VALUES.strip())
KEYS = [*Suite.model_fields, "images", "steps", "base", "<<", "1", "true", "~", "budget", "seed"]
BYTES = [b"\x00", b"\xff", b"\xfe\xff", b"\t", b"\r", b"\xef\xbb\xbf", b"\xc2\x85", b"---\n"]


def scalar(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.8:
        return rng.choice(SCALARS)
    if kind < 0.9:
        return rng.choice("[{-'\"9x&*") * rng.choice([1, 3, 60, 3000])
    return "".join(rng.choices(string.printable, k=rng.randrange(12)))


def by_values(rng: random.Random, text: str) -> bytes:
    """Replace, add, repeat or remove values of a suite, as a user would."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        key, colon, _ = lines[at].partition(":")
        change = rng.randrange(5)
        if change == 0 and colon:
            lines[at] = f"{key}: {scalar(rng)}"
        elif change == 1:
            lines.insert(at, f"{rng.choice(KEYS)}: {scalar(rng)}")
        elif change == 2:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif change == 3 and len(lines) > 1:
            del lines[at]
        else:
            lines[at] = " " * rng.randrange(4) + lines[at]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def by_bytes(rng: random.Random, text: str) -> bytes:
    """Flip, insert, remove or cut bytes."""
    content = bytearray(text.encode(rng.choice(["utf-8"] * 8 + ["utf-16", "utf-32"])))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(content) + 1)
        change = rng.randrange(4)
        if change == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            content[at:at] = rng.choice(BYTES)
        elif change == 2:
            del content[at : at + rng.randrange(1, 30)]
        else:
            content[at:at] = content[rng.randrange(len(content) + 1) :][:40]
        content = content or bytearray(b"a")
    return bytes(content)


def by_tree(rng: random.Random, text: str) -> bytes:
    """Replace a value anywhere in the data by another kind of value."""
    data = parse_yaml(text, "text")
    values = [None, True, 1, -1, 0.5, 10**30, "", "x", "1", [], [[]], {}, {"a": 1}, {"": None}]
    node = data
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = rng.choice(keys)
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.3:
            node[key] = rng.choice(values)
            return dump_yaml(data).encode()
        node = node[key]


def outcome(number: int, texts: list[str], path, registry: Registry) -> str:
    """Load and plan one odd suite; return the sentence that refuses it, or nothing."""
    rng = random.Random(number)
    path.write_bytes(rng.choice([by_values, by_values, by_bytes, by_tree])(rng, rng.choice(texts)))
    began = time.monotonic()
    try:
        plan(load_suite(str(path)), registry, "cpu")
        said = ""
    except BenchError as error:
        said = str(error)
        assert said
        assert "\n" not in said
        assert len(said) < 1500, said
    assert time.monotonic() - began < 10
    return said


def fuzz(numbers: range, tmp_path) -> list[str]:
    texts = [read.read_text(encoding="utf-8") for read in built_in_suites().values()]
    registry = discover()
    found = []
    for number in numbers:
        try:
            found.append(outcome(number, texts, tmp_path / "suite.yaml", registry))
        except Exception as error:
            kept = (tmp_path / "suite.yaml").read_bytes()
            raise AssertionError(f"case {number}: {error!r} on {kept!r}") from error
    return found


def test_100_odd_suites(tmp_path):
    said = fuzz(range(100), tmp_path)
    assert 30 < sum(map(bool, said)) < 100  # some stay valid, most are refused


@pytest.mark.slow
def test_2000_odd_suites(tmp_path):
    said = fuzz(range(100, 2100), tmp_path)
    assert 600 < sum(map(bool, said)) < 2000


@pytest.mark.parametrize("name", sorted(built_in_suites()))
def test_built_in_suites_survive_a_round_trip(name):
    data = read_yaml(built_in_suites()[name])
    assert parse_yaml(dump_yaml(data), name) == data
