"""Evolutionary search on joint scores."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import (
    joint_price,
    random_feasible,
    repaired,
    search_scored,
    table_scores,
)
from mpqbench.search.knapsack import optima, perturbed

Rate = Annotated[float, Field(ge=0, le=1)]
NOISE = 0.3  # of the scores whose optima are a first generation
TRIES = 10  # attempts at a new generation at most, where most children are known already


@plugin
class Evolutionary(Searcher):
    """A genetic algorithm; genes are the groups' choices.

    The defaults are Q-DiT's settings (arXiv 2406.17343, which searches group sizes by FID; here
    choices such as ``W4A8g64`` do so, by any joint score): a first generation of ``population``
    random allocations, then ``generations`` - 1 generations of ``crossovers`` children of two of
    the ``parents`` best, each gene of the second with probability ``crossover_rate``, and
    ``mutations`` copies of one of the best, each gene drawn anew with probability
    ``mutation_rate``. Children above a limit are made cheaper in random groups until they fit (our
    choice), and a child that is among the best ``population`` already is not scored. With ``first``
    "ilp" the first generation are optima of the integer program on additive scores, perturbed as
    by ``ilp+verify`` (our choice).
    """

    packages: ClassVar[tuple[str, ...]] = ("pymoo",)
    population: PositiveInt = 50
    generations: PositiveInt = 10
    parents: PositiveInt = 10
    crossovers: NonNegativeInt = 25
    mutations: NonNegativeInt = 25
    crossover_rate: Rate = 0.5
    mutation_rate: Rate = 0.1
    first: Literal["random", "ilp"] = "random"

    def __post_init__(self) -> None:
        if not self.crossovers + self.mutations:
            raise BenchError("crossovers and mutations must not both be 0")

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of the first generation and one child, and of the table with "ilp"."""
        table = problem.table_price() if self.first == "ilp" else 0.0
        return table + joint_price(problem, self.population + (self.generations > 1))

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the best allocation scored, or the cheapest where nothing was scored.

        Raises as ``search_scored``.
        """
        return search_scored(problem, lambda arrays: self._evolve(problem, arrays))

    def _evolve(self, problem: SearchProblem, arrays: Arrays) -> None:
        algorithm = _algorithm(self, problem, arrays, self._first(problem, arrays))
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        for generation in range(self.generations):
            young = algorithm.ask()
            if young is None:
                problem.remark(
                    f"the search ended after {generation} of {self.generations} generations: no "
                    f"child was new in {TRIES} attempts"
                )
                break
            scores = problem.score_many([arrays.allocation(genes) for genes in young.get("X")])
            Evaluator().eval(StaticProblem(algorithm.problem, F=scores[:, None]), young)
            algorithm.tell(infills=young)

    def _first(self, problem: SearchProblem, arrays: Arrays) -> np.ndarray:
        """Return distinct allocations that fit: (population or fewer, groups)."""
        count, rng = self.population, problem.rng
        if self.first == "ilp":
            found = optima(perturbed(table_scores(problem), count, NOISE, rng), arrays)
        else:
            drawn = [random_feasible(problem, rng, arrays=arrays) for _ in range(count)]
            found = np.unique([arrays.indices(each) for each in drawn], axis=0)
        if len(found) < count:
            problem.remark(f"the first generation has {len(found)} allocations of {count}")
        return np.asarray(found)

    def children(
        self, problem: SearchProblem, arrays: Arrays, genes: np.ndarray, count: int
    ) -> np.ndarray:
        """Return ``count`` repaired children (count, groups) of the parents ``genes``."""
        rng, total = problem.rng, self.crossovers + self.mutations
        crossed = rng.permutation(np.arange(count) % total < self.crossovers)
        first, second = genes[rng.integers(len(genes), size=(2, count))]
        sizes = np.array(list(map(len, arrays.choices)))
        anew = rng.integers(np.broadcast_to(sizes, first.shape))
        rates = np.where(crossed, self.crossover_rate, self.mutation_rate)[:, None]
        other = np.where(crossed[:, None], second, anew)
        children = np.where(rng.random(first.shape) < rates, other, first)
        return np.array([repaired(problem, arrays, child.astype(int), rng) for child in children])


def _algorithm(
    settings: Evolutionary, problem: SearchProblem, arrays: Arrays, first: np.ndarray
) -> Any:
    """Return pymoo's genetic algorithm with these settings; ``ask`` gives the next generation."""
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.core.duplicate import DefaultDuplicateElimination
    from pymoo.core.infill import InfillCriterion
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination

    class Children(InfillCriterion):
        def _do(self, _: Any, pop: Any, n_offsprings: int, **__: Any) -> Any:
            genes = pop.get("X")[: settings.parents]  # survivors are sorted, the best first
            return Population.new("X", settings.children(problem, arrays, genes, n_offsprings))

    sizes = np.array(list(map(len, arrays.choices)))
    algorithm = GA(
        pop_size=settings.population,
        n_offsprings=settings.crossovers + settings.mutations,
        sampling=first,
        mating=Children(eliminate_duplicates=DefaultDuplicateElimination(), n_max_iterations=TRIES),
        advance_after_initial_infill=True,
    )
    space = Problem(n_var=len(sizes), n_obj=1, xl=0, xu=sizes - 1, vtype=int)
    algorithm.setup(space, termination=NoTermination(), seed=int(problem.rng.integers(2**31)))
    return algorithm
