"""A search from its problem to its answer, which every searcher goes through."""

from ..contracts import Searcher
from ..core.errors import Exhausted
from ..core.precision import Allocation
from .feasible import fitting_uniforms
from .prices import check_allowance
from .problem import Problem
from .tabular import additive_score


def find_answer(searcher: Searcher, problem: Problem, name: str) -> Allocation:
    """Return the searcher's allocation, never worse than uniform precision by its own scores.

    Where joint scores were taken, they compare the answer with the best allocation that was scored,
    the uniform ones that fit among them; else the additive table does with the uniform ones. A
    replaced answer is remarked. Raises Infeasible, and BenchError where the allowance is less than
    the searcher needs or where the searcher breaks its contract.
    """
    check_allowance(searcher, problem, name)
    problem.uniform_first = True
    found = problem.checked(searcher.search(problem))
    if problem.trace.rows:
        return _best_joint(problem, found)
    return _best_additive(problem, found) if problem.has_table else found


def _best_joint(problem: Problem, found: Allocation) -> Allocation:
    try:
        score = problem.joint_score(found)
    except Exhausted:
        problem.remark(
            "the allowance ended before the answer was scored: nothing says whether uniform "
            "precision is better"
        )
        return found
    best = problem.best()
    if best is not None and problem.joint_score(best) < score:
        problem.remark(
            f"{_called(best)} has a lower joint score ({problem.joint_score(best):.6g}) than the "
            f"searcher's answer ({score:.6g}) and takes its place"
        )
        return best
    if _is_uniform(found):
        problem.remark(f"nothing that was scored is better than the answer, {_called(found)}")
    return found


def _best_additive(problem: Problem, found: Allocation) -> Allocation:
    table, uniforms = problem.table(), fitting_uniforms(problem)
    score = additive_score(problem, table, found)
    best = min(uniforms, key=lambda each: additive_score(problem, table, each), default=found)
    least = additive_score(problem, table, best)
    if least >= score - 1e-12 * abs(score):  # sums are rounded
        return found
    problem.remark(
        f"{_called(best)} has a lower sum of table scores ({least:.6g}) than the searcher's "
        f"answer ({score:.6g}) and takes its place"
    )
    return best


def _is_uniform(allocation: Allocation) -> bool:
    return len(set(allocation.values())) == 1


def _called(allocation: Allocation) -> str:
    if _is_uniform(allocation):
        return f"uniform {next(iter(allocation.values()))}"
    return "an allocation scored before"
