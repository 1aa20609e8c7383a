"""Runs of real searchers on synthetic chains, written as a job writes them; no model."""

from mpqbench.baselines.searchers.ilp import ILP
from mpqbench.baselines.searchers.random_search import RandomSearch
from mpqbench.core.precision import Allocation, Budget, Precision
from mpqbench.methods.treeq.tss import TSS
from mpqbench.records.schema import AllocationSummary, Score
from mpqbench.search.tabular import random_problem
from mpqbench.search.trace import write_notes

CHOICES = [Precision(2, 3), Precision(3, 3), Precision(4, 4), Precision(6, 6)]


def add_search(
    store,
    entry,
    searcher,
    slot,
    *,
    environment=None,
    objective="output-mse",
    held_out=None,
    groups=16,
):
    """Writes record, allocation, trace and notes of ``searcher`` into ``store``.

    ``entry`` is a record without a search, whose budget and seed count; ``slot`` the searcher as a
    recipe holds it, ``{"name": "tss", "keep": 4}``. Returns the record and the problem.
    """
    problem = random_problem(
        groups, CHOICES, Budget.parse(entry.budget), seed=100 + entry.seed, coupling=-0.5
    )
    found = problem.checked(searcher.search(problem))
    recipe = {
        "name": entry.method,
        "summary": f"the text of {entry.method}",
        "rounding": {"name": "nearest", "params": {}},
        "searcher": _slot(slot),
        "objective": {"name": objective, "params": {}},
        "environment": _slot(environment or {"name": "clean"}),
        "evaluations": None,
    }
    scores = dict(entry.scores)
    if held_out is not None:
        scores["output_mse"] = Score(value=held_out)
    summary = AllocationSummary(mean_weight_bits=3.0, mean_activation_bits=3.25, counts={})
    changed = {
        "recipe": recipe, "search_evals": problem.spent, "scores": scores, "allocation": summary,
    }  # fmt: skip
    record = entry.model_copy(update=changed)
    adaln = {f"blocks.{block}.adaln": Precision(8, 8) for block in range(groups // 4)}
    store.write(record)
    store.write_allocation(record.job, Allocation({**adaln, **found}).to_json())
    if problem.trace.rows:
        problem.trace.write(store.trace_path(record.job))
    for name, parts in problem.notes.items():
        write_notes(store.trace_path(record.job, name), parts)
    return record, problem


def add_plain(store, entry, held_out):
    """A record of the same quantizer without a search."""
    recipe = {
        "name": entry.method,
        "rounding": {"name": "nearest", "params": {}},
        "searcher": {"name": "uniform", "params": {}},
    }
    scores = {**entry.scores, "output_mse": Score(value=held_out)}
    record = entry.model_copy(update={"recipe": recipe, "scores": scores})
    store.write(record)
    return record


def add_searches(store, record):
    """TSS with three values of keep, random search and an integer program, beside rtn."""
    add_plain(store, record("rtn", "W3A3", 9.0), 0.5)
    store.write(record("full-precision", "FP", 5.0))
    for name, keep in (("tss", 4), ("tss-2", 2), ("tss-3", 3)):
        slot = {"name": "tss", "keep": keep}
        add_search(store, record(name, "W3A3", 7.0), TSS(keep=keep), slot, held_out=0.1 * keep)
    slot = {"name": "random"}
    add_search(store, record("random", "W3A3", 8.0), RandomSearch(draws=9), slot, held_out=0.4)
    add_search(store, record("ilp", "W3A3", 7.5), ILP(), {"name": "ilp"}, held_out=0.3)
    return store.read_all()


def _slot(short):
    return {"name": short["name"], "params": {k: v for k, v in short.items() if k != "name"}}
