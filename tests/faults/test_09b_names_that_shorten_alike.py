"""Jobs and figures of models whose names shorten alike have files of their own, or are refused."""

import pytest
from records_of import record_of

from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Budget
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.core.recipe import Recipe
from mpqbench.core.suite import Job, check_names
from mpqbench.report.table import leaderboard


def job(model="fashion-dit", method="rtn"):
    return Job(model, Recipe(name=method), Budget.parse("W4A4"), 0, PROTOCOLS["smoke"])


def test_models_whose_names_shorten_alike_have_jobs_of_their_own():
    models = ["m/a b", "m/a_b", "m/a-b", "n/a b", "a-b", "m/aüb", "m/" + "x" * 90, "x" * 90]
    jobs = [job(model) for model in models]
    assert len({each.id for each in jobs}) == len(models)
    check_names(jobs)


def test_jobs_that_would_share_their_files_are_refused():
    with pytest.raises(BenchError, match="'x' with method 'y__z' and 'x__y' with 'z'"):
        check_names([job("x", "y__z"), job("x__y", "z")])


@pytest.mark.parametrize("models", [("a/b", "a-b"), ("m/x", "M/X"), ("図", "画"), ("a/b", "a b")])
def test_figures_of_models_whose_names_shorten_alike_have_names_of_their_own(models):
    records = [record_of(fd=3.0, model=model, job=f"j{i}") for i, model in enumerate(models)]
    names = [block.name.lower() for block in leaderboard(records).blocks]
    assert len(set(names)) == len(models)
    alone = leaderboard(records[:1]).blocks[0].name
    assert len(alone) <= len(names[0])
