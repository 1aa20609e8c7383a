"""A recipe that changes its base keeps no text of the base that is no longer true."""

import pytest

from mpqbench.core.registry import discover

REGISTRY = discover()


@pytest.mark.parametrize(
    ("fields", "summary"),
    [
        ({"searcher": "ilp", "evaluations": 300}, "rtn with searcher ilp"),
        ({"searcher": {"name": "tss", "keep": 2}}, "rtn with searcher tss (keep: 2)"),
        ({"choices": ["W4A4"], "attention_bits": 8}, "rtn with attention_bits 8, choices W4A4"),
    ],
)
def test_the_summary_says_what_differs(fields, summary):
    recipe = REGISTRY.method({"base": "rtn", "name": "mine", **fields})
    assert recipe.summary == summary
    assert recipe.source == recipe.keeps == recipe.leaves_out == ""


def test_texts_that_are_given_or_still_true_are_kept():
    rtn = REGISTRY.method("rtn")
    given = REGISTRY.method({"base": "rtn", "name": "mine", "searcher": "ilp", "summary": "own"})
    assert given.summary == "own"
    for same in ({"searcher": "uniform"}, {"evaluations": 10.0}):
        recipe = REGISTRY.method({"base": "rtn", "name": "mine", **same})
        assert (recipe.summary, recipe.keeps) == (rtn.summary, rtn.keeps)
