"""What the plugins of a recipe cost, from the shapes of a model, before anything is fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ..contracts import Branch, BranchSize, Correction, Transform, TransformSize
from ..core.errors import BenchError
from ..cost.count import Operator
from ..cost.overhead import of_branch
from ..cost.storage import packed_bytes
from ..dit.groups import Group, linear_layer
from .verify import BITS

ByGroup = Mapping[str, Sequence[Operator]]


@dataclass(frozen=True)
class PlannedOperators:
    """What plugins add to the count: ``transforms`` and ``branches`` of every group by its name.

    Transforms are those of any group that is not in full precision, branches those of a searchable
    group at any rounded precision that is not bare.
    """

    transforms: ByGroup
    branches: ByGroup

    @classmethod
    def of(
        cls,
        transform: Transform,
        branch: Branch | None,
        transformer: nn.Module,
        groups: Sequence[Group],
    ) -> "PlannedOperators":
        """Plan for ``transformer``, for which the meta device is enough. Raises BenchError."""
        widths = {g.name: linear_layer(transformer, g.layers[0]).in_features for g in groups}
        transforms = {
            g.name: transform_operators(g, transform.size(g.name, widths[g.name])) for g in groups
        }
        return cls(transforms, branch_operators(branch, transformer, groups))


def branch_size(branch: Branch | None, group: Group, out: int, width: int) -> BranchSize | None:
    """Return the size of the branch of a layer (out, width) of ``group``, if the weight is rounded.

    The layers of adaLN get none (SVDQuant leaves them out too): in a DiT they hold a third of the
    weights and hardly any of the error. Raises BenchError for bits other than 8 and 16.
    """
    size = None if branch is None or not group.searchable else branch.size(out, width)
    if size is not None and size.bits not in BITS:
        raise BenchError(f"a branch has 8 or 16 bits, not {size.bits}")
    return size


def shares_branch(branch: Branch | None, group: Group) -> bool:
    """Return whether the layers of ``group`` have one branch together."""
    return branch is not None and branch.shared and len(group.layers) > 1


def transform_operators(group: Group, size: TransformSize) -> list[Operator]:
    """Return the transform of the input of ``group`` as the cost counts it."""
    found, parts = [], {"rotation": size.rotation, "smoothing": size.smoothing}
    for source, operations in parts.items():
        if operations.bitops:
            online = operations.bitops * group.tokens
            name = f"{group.name}.{source}"
            found.append(Operator(name, source, 0, group=group.name, online=online))
    if size.extra_bits:
        name, stored = f"{group.name}.transform", packed_bytes(size.extra_bits, 1)
        found.append(Operator(name, "transform", 0, group=group.name, scale_bytes=stored))
    return found


def branch_operator(path: str, group: Group, size: BranchSize, sides: tuple[int, int]) -> Operator:
    """Return the branch of the layer at ``path``, or of all of a group, as the cost counts it.

    ``sides`` are its outputs and inputs.
    """
    online = size.additions * size.bits
    if size.bits == 8:
        online += of_branch(sides[1], sides[0], size.between)
    return Operator(
        f"{path}.branch",
        "branch",
        size.multiplications * group.tokens,
        weight_bits=size.bits,
        activation_bits=size.bits,
        weights=size.numbers,
        scale_bytes=packed_bytes(size.extra_bits, 1),
        online=online * group.tokens,
    )


def branch_operators(
    branch: Branch | None, transformer: nn.Module, groups: Sequence[Group]
) -> dict[str, list[Operator]]:
    """Return the branches of every searchable group at any rounded precision, before any fit."""
    found: dict[str, list[Operator]] = {group.name: [] for group in groups if group.searchable}
    for group in groups:
        linears = {path: linear_layer(transformer, path) for path in group.layers}
        sides = {path: (each.out_features, each.in_features) for path, each in linears.items()}
        if shares_branch(branch, group):
            whole = sum(out for out, _ in sides.values()), sides[group.layers[0]][1]
            sides = {group.name: whole}
        for path, (out, width) in sides.items():
            size = branch_size(branch, group, out, width)
            if size is not None:
                found[group.name].append(branch_operator(path, group, size, (out, width)))
    return found


def correction_operator(
    correction: Correction, shape: tuple[int, int, int], steps: int
) -> Operator | None:
    """Return the correction of latents of ``shape`` (c, h, w): one in a forward, all stored."""
    if not correction.images:
        return None
    size = correction.size(shape)
    numbers, online = size.numbers * steps, size.operations.bitops
    return Operator("correction", "correction", 0, weights=numbers, online=online)


def share_of(branches: ByGroup) -> str:
    """Say what branches by group take of a budget, as the end of a sentence; "" without any."""
    operators = [op for group in branches.values() for op in group]
    if not operators:
        return ""
    return (
        f"; the branches alone take {sum(op.mac_bitops for op in operators):,} BitOPs and "
        f"{sum(op.bytes for op in operators):,} bytes of it: make them smaller, offer choices "
        "without them, like W2A2-, or leave them out of the budget with branch_in_budget: false"
    )
