"""Bayesian search on joint scores, with a tree-structured Parzen estimator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from mpqbench.contracts import Searcher, plugin
from mpqbench.core.errors import BenchError, Exhausted
from mpqbench.search.feasible import Arrays, cheapest_feasible, only_allocation
from mpqbench.search.repair import repaired

if TYPE_CHECKING:
    from mpqbench.contracts import SearchProblem
    from mpqbench.core.precision import Allocation


@plugin
class TPE(Searcher):
    """Proposes what resembles the good allocations and not the bad ones (optuna's TPESampler).

    Each group is an integer parameter, the number of its choice, cheapest first, so that near ones
    are alike; all groups are modelled together, by one kernel for each allocation. The first
    ``startup`` of ``trials`` are random. A proposal above a limit is made cheaper in random groups
    until it fits, and it is that repaired allocation, with its score, that the estimator learns
    from (our choice). ``batch`` proposals are made before they are scored together.
    """

    trials: int = 500
    startup: int = 50
    batch: int = 10

    def __post_init__(self) -> None:
        for name in ("trials", "startup", "batch"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name} must be at least 1, not {getattr(self, name)}")

    def search(self, problem: SearchProblem) -> Allocation:
        """The best allocation scored; the cheapest where the allowance is too small for one.

        Raises Infeasible where nothing fits, BenchError without optuna.
        """
        only = only_allocation(problem)
        if only is not None:
            return only
        cheapest = cheapest_feasible(problem)
        try:
            import optuna
        except ImportError as error:
            raise BenchError(
                "'tpe' needs optuna: install it with pip install 'mpqbench[search]'"
            ) from error
        with _quiet(optuna), suppress(Exhausted):
            self._run(problem, optuna)
        return problem.best() or cheapest

    def _run(self, problem: SearchProblem, optuna: Any) -> None:
        arrays = Arrays.of(problem)
        sampler = optuna.samplers.TPESampler(
            seed=int(problem.rng.integers(2**31)), n_startup_trials=self.startup, multivariate=True
        )
        study = optuna.create_study(sampler=sampler)
        space = {
            group: optuna.distributions.IntDistribution(0, len(own) - 1)
            for group, own in zip(arrays.groups, arrays.choices, strict=True)
        }
        for start in range(0, self.trials, self.batch):
            count = min(self.batch, self.trials - start)
            proposals = [_proposal(problem, arrays, study, space, optuna) for _ in range(count)]
            scores = problem.score_many([arrays.allocation(each) for each in proposals])
            for each, score in zip(proposals, scores, strict=True):
                params = dict(zip(arrays.groups, each.tolist(), strict=True))
                study.add_trial(
                    optuna.trial.create_trial(
                        params=params, distributions=space, value=float(score)
                    )
                )


def _proposal(
    problem: SearchProblem, arrays: Arrays, study: Any, space: dict[str, Any], optuna: Any
) -> np.ndarray:
    """Choices (groups,) that fit; the asked trial is closed, since its repaired copy is told."""
    trial = study.ask(space)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    params = trial.params  # copied anew at every access
    asked = np.array([params[group] for group in arrays.groups])
    return repaired(problem, arrays, asked, problem.rng)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            # up to version 4 it warns that multivariate=True may change
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
