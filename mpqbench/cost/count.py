"""BitOPs, bytes and effective bits: the one place that counts, in exact integers.

An operator costs ``MACs x weight bits x activation bits`` in one forward of one image (no factor
2, no guidance, no autoencoder; arXiv 2011.10680). What is in floating point counts 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from ..core.errors import BenchError
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import FULL_BITS, Budget, Precision
from ..dit.groups import Group, check_allocation, layer_groups, linear_layer, token_count
from .storage import GridBytes, grid_bytes, packed_bytes

SOFTMAX_BITS = 8  # of the attention weights, in the convention that quantizes them apart

_TOTALS = ("macs", "parameters", "bitops", "bitops_linear", "bitops_per_image",
           "guidance_passes", "steps", "bytes", "effective_bits")  # fmt: skip
_EMBEDDER = "transformer_blocks.0.norm1.emb"
_FIXED_KINDS = {
    "pos_embed.proj": "embed.patch",
    f"{_EMBEDDER}.timestep_embedder.linear_1": "embed.time",
    f"{_EMBEDDER}.timestep_embedder.linear_2": "embed.time",
    f"{_EMBEDDER}.class_embedder.embedding_table": "embed.label",
    "proj_out_1": "final.adaln",
    "proj_out_2": "final.linear",
}
_PER_TOKEN = ("embed.patch", "final.linear")
_NO_MACS = ("embed.label", "norm")  # a look-up, and element-wise work that no convention counts


@dataclass(frozen=True)
class Operator:
    """One row of the count.

    ``macs`` of one forward of one image; ``weights`` and ``biases`` are numbers of values, biases
    in floating point; the two operands of an attention product stand in ``weight_bits`` and
    ``activation_bits``.
    """

    name: str
    kind: str
    macs: int
    weight_bits: int = FULL_BITS
    activation_bits: int = FULL_BITS
    weights: int = 0
    biases: int = 0
    scale_bytes: int = 0
    zero_bytes: int = 0
    group: str | None = None
    searchable: bool = False

    @property
    def bitops(self) -> int:
        """MACs x weight bits x activation bits."""
        return self.macs * self.weight_bits * self.activation_bits

    @property
    def bytes(self) -> int:
        """Packed weights, biases, scales and zero points."""
        packed = packed_bytes(self.weights, self.weight_bits)
        return packed + packed_bytes(self.biases, FULL_BITS) + self.scale_bytes + self.zero_bytes


@dataclass(frozen=True)
class CostReport:
    """The count of one model.

    ``parameters`` are the model's own: what a branch adds is in ``bytes``, not in the denominator
    of ``effective_bits``.
    """

    operators: tuple[Operator, ...]
    parameters: int
    guidance_passes: int
    steps: int

    @property
    def macs(self) -> int:
        """Of one forward of one image."""
        return sum(op.macs for op in self.operators)

    @property
    def bitops(self) -> int:
        """Headline: all operators, each at its own bits."""
        return sum(op.bitops for op in self.operators)

    @property
    def bitops_linear(self) -> int:
        """Searchable linear layers only: what a budget bounds, with their branches."""
        return sum(op.bitops for op in self.operators if op.searchable)

    @property
    def bitops_per_image(self) -> int:
        """``bitops`` x guidance passes x steps."""
        return self.bitops * self.guidance_passes * self.steps

    @property
    def bytes(self) -> int:
        """Size of the stored model, duplicates counted once."""
        return sum(op.bytes for op in self.operators)

    @property
    def effective_bits(self) -> float:
        """8 x bytes / parameters."""
        return 8 * self.bytes / self.parameters

    def limit(self, budget: Budget) -> int | None:
        """BitOPs that ``budget`` allows the searchable linears; ``None`` without a bound."""
        return budget_limit(sum(op.macs for op in self.operators if op.searchable), budget)

    @property
    def branch_bitops(self) -> int:
        """Of all branches, which are in ``bitops`` and not in ``bitops_linear``."""
        return sum(op.bitops for op in self.operators if op.kind == "branch")

    @property
    def branch_bytes(self) -> int:
        """Of all branches, which are in ``bytes``."""
        return sum(op.bytes for op in self.operators if op.kind == "branch")

    @property
    def weight_bits(self) -> float:
        """Average over the weights of the searchable linears."""
        rows = [op for op in self.operators if op.searchable]
        return sum(op.weights * op.weight_bits for op in rows) / sum(op.weights for op in rows)

    def satisfied(self, budget: Budget, branch_in_budget: bool = True) -> bool:
        """Whether every bound of ``budget`` holds, with what branches take or without it.

        Weight bits are those of the layers either way.
        """
        limit = self.limit(budget)
        bitops, size = self.bitops_linear + self.branch_bitops, self.bytes
        if not branch_in_budget:
            bitops, size = self.bitops_linear, size - self.branch_bytes
        within = limit is None or bitops <= limit
        within &= size <= budget.bytes
        return within and (budget.weight_bits is None or self.weight_bits <= budget.weight_bits)

    def to_json(self) -> dict[str, Any]:
        """All totals, then the operators."""
        rows = [asdict(op) | {"bitops": op.bitops, "bytes": op.bytes} for op in self.operators]
        return {name: getattr(self, name) for name in _TOTALS} | {"operators": rows}


def count(
    transformer: nn.Module,
    groups: Sequence[Group],
    allocation: Mapping[str, Precision],
    *,
    weight_format: WeightFormat,
    activation_format: ActivationFormat,
    attention_bits: int | None = None,
    storage: Mapping[str, GridBytes] | None = None,
    extra: Sequence[Operator] = (),
    guidance_passes: int = 1,
    steps: int = 1,
) -> CostReport:
    """Count ``transformer`` (its original layers; the meta device is enough) under ``allocation``.

    ``allocation`` covers all ``groups``; a precision with a group size stands for formats of its
    own: more scales, the same BitOPs. ``attention_bits`` holds for both operands of QK^T and AV,
    ``None`` for 16. ``storage`` are measured grid sizes by layer, which replace those that follow
    from the formats. ``extra`` operators (branches, transforms) count at their own bits. Raises
    BenchError for an allocation that does not fit the groups, a group size that does not divide a
    width, and a layer the count does not know.
    """
    check_allocation([group.name for group in groups], allocation)
    attention = FULL_BITS if attention_bits is None else attention_bits
    storage = storage or {}
    rows = []
    for row in _skeleton(transformer, groups):
        if row.kind in ("attn.qk", "attn.av"):
            row = replace(row, weight_bits=attention, activation_bits=attention)
        elif row.group is not None:
            precision, layer = allocation[row.group], linear_layer(transformer, row.name)
            formats = precision.formats(weight_format, activation_format)
            grids = storage.get(row.name) or grid_bytes(row.name, layer, precision, *formats)
            w, a = precision.weight_bits, precision.activation_bits
            row = replace(row, weight_bits=w, activation_bits=a)
            zero = grids.zero + grids.input_zero
            row = replace(row, scale_bytes=grids.scale, zero_bytes=zero)
        rows.append(row)
    _check_names(rows, storage, extra)
    parameters = sum(row.weights + row.biases for row in rows)
    return CostReport((*rows, *extra), parameters, guidance_passes, steps)


def conventions(
    transformer: nn.Module, precision: Precision, *, full_bits: int = FULL_BITS
) -> dict[str, int]:
    """BitOPs of one forward at uniform ``precision`` under the conventions in use elsewhere.

    ``uniform``: everything at w*a. ``linear``: searchable linears only. ``recommended``: linears
    w*a, attention products a*a, the rest in floating point. Variants of it: ``attention_full``
    (products in floating point), ``adaln_quantized`` (adaLN at w*a) and ``softmax_8`` (attention
    weights at 8 bits in AV). ``full_bits`` is what floating point counts: 16, or 32 as some do.
    """
    w = full_bits if precision.weight is None else precision.weight
    a = full_bits if precision.activation is None else precision.activation
    softmax = full_bits if precision.activation is None else SOFTMAX_BITS
    full = full_bits**2
    rows = list(_skeleton(transformer, layer_groups(transformer)))
    linear = sum(row.macs for row in rows if row.searchable) * w * a

    def total(qk: int, av: int, adaln: int = full) -> int:
        factors = {"attn.qk": qk, "attn.av": av, "adaln": adaln}
        rest = (row.macs * factors.get(row.kind, full) for row in rows if not row.searchable)
        return linear + sum(rest)

    return {
        "uniform": sum(row.macs for row in rows) * w * a,
        "linear": linear,
        "recommended": total(a * a, a * a),
        "attention_full": total(full, full),
        "adaln_quantized": total(a * a, a * a, adaln=w * a),
        "softmax_8": total(a * a, a * softmax),
    }


def group_macs(transformer: nn.Module, groups: Sequence[Group]) -> dict[str, int]:
    """MACs of each searchable group in one forward of one image: what a search problem needs."""
    macs = {group.name: 0 for group in groups if group.searchable}
    for row in _skeleton(transformer, groups):
        if row.group in macs:
            macs[row.group] += row.macs
    return macs


def budget_limit(macs: int, budget: Budget) -> int | None:
    """BitOPs of ``macs`` at uniform budget precision; ``None`` for floating point: no bound."""
    if budget.precision.is_full:
        return None
    return macs * budget.precision.weight_bits * budget.precision.activation_bits


def _skeleton(transformer: Any, groups: Sequence[Group]) -> Iterator[Operator]:
    """Every operator in floating point: modules in their order, then attention products.

    diffusers keeps a copy of the time and label embedder in every block: the first is counted.
    """
    of_layer = {layer: group for group in groups for layer in group.layers}
    for layer in of_layer:
        linear_layer(transformer, layer)
    tokens = token_count(transformer)
    for name, module in transformer.named_modules():
        own = {key: p.numel() for key, p in module.named_parameters(recurse=False)}
        if not own or (".norm1.emb." in name and not name.startswith(_EMBEDDER)):
            continue
        biases = own.pop("bias", 0)
        weights = sum(own.values())
        op = Operator(name, "", 0, weights=weights, biases=biases)
        if name in of_layer:
            group = of_layer[name]
            op = replace(op, kind=group.kind, macs=weights * group.tokens)
            yield replace(op, group=group.name, searchable=group.searchable)
        else:
            kind = _kind(name, module)
            rows = tokens if kind in _PER_TOKEN else 0 if kind in _NO_MACS else 1
            yield replace(op, kind=kind, macs=weights * rows)
    for index, block in enumerate(transformer.transformer_blocks):
        macs = tokens * tokens * block.attn1.to_q.out_features
        for kind in ("attn.qk", "attn.av"):
            yield Operator(f"transformer_blocks.{index}.{kind}", kind, macs)


def _kind(name: str, module: nn.Module) -> str:
    kind = "norm" if isinstance(module, nn.LayerNorm) else _FIXED_KINDS.get(name)
    if kind is None:
        raise BenchError(f"the cost of {name} ({type(module).__name__}) is not known")
    return kind


def _check_names(
    rows: Sequence[Operator], storage: Mapping[str, GridBytes], extra: Sequence[Operator]
) -> None:
    for op in extra:
        if op.searchable:
            raise BenchError(f"extra operator {op.name} cannot be searchable: it is no layer")
    for name in storage.keys() - {row.name for row in rows if row.group is not None}:
        raise BenchError(f"grid sizes are given for {name}, which is in no group")
