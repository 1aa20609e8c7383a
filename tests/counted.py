"""A search problem with the costs of a transformer's groups and no scores."""

from mpqbench.search.budget_costs import choices_within, measures
from mpqbench.search.problem import Problem


def counted_problem(transformer, groups, budget, choices=(), seed=0):
    own = choices_within(budget, choices)
    names = [group.name for group in groups if group.searchable]
    costs = measures(transformer, groups, budget, own)
    return Problem(names, dict.fromkeys(names, own), costs, budget, seed=seed)
