"""Evolutionary search on joint scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpqbench.contracts import Searcher, plugin
from mpqbench.core.errors import BenchError, Exhausted, unknown
from mpqbench.search.feasible import (
    Arrays,
    cheapest_feasible,
    only_allocation,
    random_feasible,
    table_scores,
)
from mpqbench.search.knapsack import optima
from mpqbench.search.repair import repaired

if TYPE_CHECKING:
    from mpqbench.contracts import SearchProblem
    from mpqbench.core.precision import Allocation


FIRST = ("random", "ilp")
NOISE = 0.3  # of the scores whose optima are a first generation
TRIES = 10  # litters at most, where most children are known already


@plugin
class Evolutionary(Searcher):
    """Crosses and mutates the best allocations found so far; genes are the groups' choices.

    The defaults are Q-DiT's settings (arXiv 2406.17343, which searches group sizes by FID; here
    choices such as ``W4A8g64`` do, by any joint score): a first generation of ``population`` random
    allocations, then ``generations`` - 1 of ``crossovers`` children of two of the ``parents`` best,
    each gene of the second with probability ``crossover_rate``, and ``mutations`` copies of one of
    them, each gene drawn anew with probability ``mutation_rate``. Children above a limit are made
    cheaper in random groups until they fit (our choice), and none is scored that is among the best
    ``population`` already. With ``first`` "ilp" instead of "random", the first generation are
    optima of the integer program on additive scores, perturbed as by ``ilp+verify`` (our choice).
    """

    population: int = 50
    generations: int = 10
    parents: int = 10
    crossovers: int = 25
    mutations: int = 25
    crossover_rate: float = 0.5
    mutation_rate: float = 0.1
    first: str = "random"

    def __post_init__(self) -> None:
        for name in ("population", "generations", "parents"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name} must be at least 1, not {getattr(self, name)}")
        if min(self.crossovers, self.mutations) < 0 or self.crossovers + self.mutations < 1:
            raise BenchError("crossovers and mutations must not be negative, nor both zero")
        for name in ("crossover_rate", "mutation_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise BenchError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        if self.first not in FIRST:
            raise unknown("first generation", self.first, FIRST)

    def search(self, problem: SearchProblem) -> Allocation:
        """The best allocation scored; the cheapest where the allowance is too small for one.

        Raises Infeasible where nothing fits, BenchError without pymoo.
        """
        only = only_allocation(problem)
        if only is not None:
            return only
        cheapest = cheapest_feasible(problem)
        arrays = Arrays.of(problem)
        try:
            algorithm = _algorithm(self, problem, arrays, _first(self, problem, arrays))
            for _ in range(self.generations):
                young = algorithm.ask()
                if young is None:  # every child there can be is known
                    break
                scores = problem.score_many([arrays.allocation(each) for each in young.get("X")])
                _tell(algorithm, young, scores)
        except Exhausted:
            pass
        return problem.best() or cheapest


def _first(settings: Evolutionary, problem: SearchProblem, arrays: Arrays) -> np.ndarray:
    """Distinct allocations that fit: (population or fewer, groups)."""
    count, rng = settings.population, problem.rng
    if settings.first == "ilp":
        return np.array(optima(table_scores(problem), arrays, count, noise=NOISE, rng=rng))
    drawn = [random_feasible(problem, rng, arrays=arrays) for _ in range(count)]
    return np.unique([arrays.indices(each) for each in drawn], axis=0)


def _algorithm(
    settings: Evolutionary, problem: SearchProblem, arrays: Arrays, first: np.ndarray
) -> Any:
    """Pymoo's genetic algorithm with these settings; ``ask`` gives the next generation."""
    try:
        from pymoo.algorithms.soo.nonconvex.ga import GA
        from pymoo.core.duplicate import DefaultDuplicateElimination
        from pymoo.core.infill import InfillCriterion
        from pymoo.core.population import Population
        from pymoo.core.problem import Problem
        from pymoo.core.termination import NoTermination
    except ImportError as error:
        raise BenchError(
            "'evolutionary' needs pymoo: install it with pip install 'mpqbench[search]'"
        ) from error

    class Children(InfillCriterion):
        def _do(self, _: Any, pop: Any, n_offsprings: int, **__: Any) -> Any:
            genes = pop.get("X")[: settings.parents]  # survivors are sorted, the best first
            return Population.new("X", _children(settings, problem, arrays, genes, n_offsprings))

    rng, sizes = problem.rng, [len(own) for own in arrays.choices]
    algorithm = GA(
        pop_size=settings.population,
        n_offsprings=settings.crossovers + settings.mutations,
        sampling=first,
        mating=Children(eliminate_duplicates=DefaultDuplicateElimination(), n_max_iterations=TRIES),
        advance_after_initial_infill=True,
    )
    space = Problem(n_var=len(sizes), n_obj=1, xl=0, xu=np.array(sizes) - 1, vtype=int)
    algorithm.setup(space, termination=NoTermination(), seed=int(rng.integers(2**31)))
    return algorithm


def _tell(algorithm: Any, young: Any, scores: np.ndarray) -> None:
    from pymoo.core.evaluator import Evaluator
    from pymoo.problems.static import StaticProblem

    Evaluator().eval(StaticProblem(algorithm.problem, F=scores[:, None]), young)
    algorithm.tell(infills=young)


def _children(
    settings: Evolutionary,
    problem: SearchProblem,
    arrays: Arrays,
    genes: np.ndarray,
    count: int,
) -> np.ndarray:
    """(count, groups) repaired children of the parents ``genes``, both kinds in proportion."""
    rng = problem.rng
    total = settings.crossovers + settings.mutations
    crossed = rng.permutation(np.arange(count) % total < settings.crossovers)
    first, second = genes[rng.integers(len(genes), size=(2, count))]
    sizes = np.array([len(own) for own in arrays.choices])
    anew = rng.integers(np.broadcast_to(sizes, first.shape))
    rates = np.where(crossed, settings.crossover_rate, settings.mutation_rate)[:, None]
    other = np.where(crossed[:, None], second, anew)
    children = np.where(rng.random(first.shape) < rates, other, first)
    return np.array([repaired(problem, arrays, child.astype(int), rng) for child in children])
