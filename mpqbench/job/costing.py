"""The cost of a recipe under an allocation, counted from shapes: nothing is fitted or loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import BenchError
from ..core.precision import Allocation, Budget, Precision
from ..core.recipe import Recipe
from ..cost.count import CostReport, CountOptions, Operator, count
from ..cost.overhead import COST_RULE
from ..dit.groups import Group, layer_groups, uniform_allocation
from ..quant.planned import PlannedOperators
from .context import Plugins
from .search_problem import planned_correction


@dataclass(frozen=True)
class CountTerms:
    """How a cost is counted: for how many sampling ``steps``, and by which ``rule``."""

    steps: int = 1
    rule: str = COST_RULE


def planned_report(
    recipe: Recipe,
    plugins: Plugins,
    transformer: Any,
    allocation: Mapping[str, Precision],
    terms: CountTerms,
) -> CostReport:
    """Return the cost of one forward; ``transformer`` may be on the meta device.

    Raises BenchError as ``cost.count.count``, and for a plugin whose size does not fit a layer.
    """
    groups = layer_groups(transformer)
    planned = PlannedOperators.of(plugins.transform, plugins.branch, transformer, groups)
    extra = [op for group in groups for op in _of_group(group, planned, allocation[group.name])]
    if not all(precision.is_full for precision in allocation.values()):
        extra += planned_correction(plugins, transformer, terms.steps)
    options = CountOptions(
        recipe.weight_format, recipe.activation_format, recipe.attention_bits, {}, extra, terms.rule
    )
    return replace(count(transformer, groups, allocation, options), steps=terms.steps)


def _of_group(group: Group, planned: PlannedOperators, precision: Precision) -> Sequence[Operator]:
    found = [] if precision.is_full else list(planned.transforms[group.name])
    return found + (list(planned.branches.get(group.name, ())) if precision.branched else [])


def uniform_of(recipe: Recipe, budget: Budget, groups: Sequence[Group]) -> Allocation:
    """Return the uniform allocation of a budget's precision, at which a method is priced.

    Raises BenchError for a budget without a precision.
    """
    precision = budget.precision
    if precision.is_full and not budget.is_unbounded:
        raise BenchError(
            f"budget '{budget}' has no precision to count at: give one with bits, like W4A4"
        )
    fixed = precision if precision.is_full else Precision.parse(recipe.adaln)
    return uniform_allocation(groups, precision, fixed)


def told_allocation(
    counts: Mapping[str, int], recipe: Recipe, groups: Sequence[Group], kept: Any = None
) -> Allocation:
    """Return the allocation of a record: that which was ``kept``, or the uniform one it counts.

    Raises BenchError where the record counts several precisions and no allocation was kept.
    """
    if kept is not None:
        return Allocation.from_json(kept)
    if len(counts) != 1:
        raise BenchError("the allocation was not kept and is not uniform")
    precision = Precision.parse(next(iter(counts)))
    fixed = precision if precision.is_full else Precision.parse(recipe.adaln)
    return uniform_allocation(groups, precision, fixed)
