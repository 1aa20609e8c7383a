"""A key that is there twice is refused with both lines, at any depth and in every kind of YAML."""

from pathlib import Path

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.yaml_text import parse_yaml
from mpqbench.report.pages import About

SUITE = "name: s\nmethods: [rtn]\nbudgets: [W4A4]\n"


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3", "a", (3, 1)),
        ("a:\n  b:\n    - {c: 1,\n       c: 2}", "c", (4, 3)),
        ("a: 1\n'a': 2", "a", (2, 1)),
        ("1: x\n'1': y", "1", (2, 1)),
        ("on: x\ntrue: y", "true", (2, 1)),
        ("<<: {a: 1}\n<<: {a: 2}", "<<", (2, 1)),
        ("a: &x {k: 1}\nb: {<<: *x, c: 1, c: 2}", "c", (2, 2)),
    ],
)
def test_both_lines_are_named(text, key, lines):
    with pytest.raises(BenchError) as error:
        parse_yaml(text, "f.yaml")
    assert f"f.yaml is not readable YAML: line {lines[0]}, column" in str(error.value)
    assert f"key '{key}' is there already in line {lines[1]}" in str(error.value)


def test_a_key_over_a_merged_one_is_no_duplicate():
    assert parse_yaml("<<: {a: 1, b: 2}\na: 3", "f.yaml") == {"a": 3, "b": 2}


def test_suites_factors_and_recipes(mpqbench, tmp_path: Path):
    suite, factors, recipe = (tmp_path / f"{name}.yaml" for name in ("suite", "factors", "recipe"))
    suite.write_text(SUITE + "methods: [gptq]\n", encoding="utf-8")
    factors.write_text("branch:\n  a: {branch: none}\n  a: {branch: sparse}\n", encoding="utf-8")
    recipe.write_text("base: rtn\nadaln: FP\nadaln: W4A4\n", encoding="utf-8")
    out = ("--out", tmp_path / "out")
    for arguments in (
        ("run", suite, "-n", *out),
        ("ablate", "gptq", "--factors", factors, "-n", *out),
        ("ablate", recipe, "-n", *out),
        ("ablate", "gptq", "--factor", "branch=none|{name: sparse, rank: 1, rank: 2}", "-n", *out),
        ("check", "gptq", "--param", "damping={a: 1, a: 2}"),
    ):
        code, _, err = mpqbench(*arguments)
        assert (code, err.count("\n")) == (2, 1), err
        assert "is there already in line" in err


def test_the_header_of_a_page(tmp_path: Path):
    (tmp_path / "about.md").write_text(
        "---\nquestion: a\nquestion: b\n---\n# Title\nText\n", encoding="utf-8"
    )
    with pytest.raises(BenchError, match="key 'question' is there already in line 1"):
        About.read(tmp_path)
