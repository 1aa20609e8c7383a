"""Bayesian search on joint scores, with a tree-structured Parzen estimator."""

import warnings
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import joint_price, repaired, search_scored


@plugin
class TPE(Searcher):
    """A tree-structured Parzen estimator (optuna's TPESampler) over the groups' choices.

    Each group is an integer parameter, the number of its choice, cheapest first, so that
    neighbouring numbers are alike; all groups are modelled together, by one kernel for each
    allocation. The first ``startup`` of ``trials`` are random. A proposal above a limit is made
    cheaper in random groups until it fits, and the estimator learns from the repaired allocation
    and its score (our choice). ``batch`` proposals are made before they are scored together.
    """

    packages: ClassVar[tuple[str, ...]] = ("optuna",)
    trials: PositiveInt = 500
    startup: PositiveInt = 50
    batch: PositiveInt = 10

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of the random trials and of one that the estimator proposes."""
        return joint_price(problem, min(self.trials, self.startup + 1))

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the best allocation scored, or the cheapest where nothing was scored.

        Raises as ``search_scored``.
        """
        return search_scored(problem, lambda arrays: self._explore(problem, arrays))

    def _explore(self, problem: SearchProblem, arrays: Arrays) -> None:
        import optuna

        seed, verbosity = int(problem.rng.integers(2**31)), optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with warnings.catch_warnings():
                # Up to version 4, optuna warns that multivariate=True may change.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=self.startup, multivariate=True
                )
                study = optuna.create_study(sampler=sampler)
                for start in range(0, self.trials, self.batch):
                    count = min(self.batch, self.trials - start)
                    _score_batch(problem, arrays, study, count)
        finally:
            optuna.logging.set_verbosity(verbosity)


def _score_batch(problem: SearchProblem, arrays: Arrays, study: Any, count: int) -> None:
    """Score ``count`` repaired proposals together and tell them to the study.

    The trials that were asked for are closed, as their repaired copies are told instead.
    """
    from optuna.distributions import IntDistribution
    from optuna.trial import TrialState, create_trial

    pairs = zip(arrays.groups, arrays.choices, strict=True)
    space = {group: IntDistribution(0, len(choices) - 1) for group, choices in pairs}
    proposals = []
    for _ in range(count):
        trial = study.ask(space)
        study.tell(trial, state=TrialState.FAIL)
        params = trial.params  # copied anew at every access
        asked = np.array([params[group] for group in arrays.groups])
        proposals.append(repaired(problem, arrays, asked, problem.rng))
    scores = problem.score_many([arrays.allocation(indices) for indices in proposals])
    for indices, score in zip(proposals, scores, strict=True):
        params = dict(zip(arrays.groups, indices.tolist(), strict=True))
        study.add_trial(create_trial(params=params, distributions=space, value=float(score)))
