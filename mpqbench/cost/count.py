"""BitOPs, bytes and effective bits: the one place that counts, in exact integers.

An operator costs ``MACs x weight bits x activation bits`` in one forward of one image (no factor
2, no guidance, no autoencoder; arXiv 2011.10680). What is in floating point counts 16 bits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from ..core.errors import BenchError
from ..core.formats import ActivationFormat, WeightFormat, check_group, scale_count
from ..core.precision import FULL_BITS, Budget, Precision
from ..dit.groups import Group, check_allocation, layer_groups, linear_layer, token_count
from .storage import QParamBytes, packed_bytes, qparam_bytes

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
    in floating point. An attention product has its two operands at ``weight_bits`` and
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
    """The count of one model, in one forward of one image.

    ``macs``, ``bitops`` (each operator at its own bits) and ``bytes`` are of all operators, with
    duplicates stored once; ``branch_bitops`` and ``branch_bytes`` are the part of branches.
    ``bitops_linear`` and ``weight_bits`` (a mean over weights) are of the ``searchable`` linear
    layers, without their branches. ``effective_bits`` are 8 x bytes / ``parameters``, which are the
    model's own. ``bitops_per_image`` is ``bitops`` x guidance passes x steps.
    """

    operators: tuple[Operator, ...]
    parameters: int
    guidance_passes: int = 1
    steps: int = 1

    def _total(self, what: str, kind: str | None = None) -> int:
        return sum(getattr(op, what) for op in self.operators if kind in (None, op.kind))

    macs = property(lambda self: self._total("macs"))
    bitops = property(lambda self: self._total("bitops"))
    bytes = property(lambda self: self._total("bytes"))
    branch_bitops = property(lambda self: self._total("bitops", "branch"))
    branch_bytes = property(lambda self: self._total("bytes", "branch"))
    effective_bits = property(lambda self: 8 * self.bytes / self.parameters)

    searchable = property(lambda self: [op for op in self.operators if op.searchable])
    bitops_linear = property(lambda self: sum(op.bitops for op in self.searchable))
    bitops_per_image = property(lambda self: self.bitops * self.guidance_passes * self.steps)

    @property
    def weight_bits(self) -> float:
        bits = sum(op.weights * op.weight_bits for op in self.searchable)
        return bits / sum(op.weights for op in self.searchable)

    def satisfied(self, budget: Budget, branch_in_budget: bool = True) -> bool:
        """Return whether every bound of ``budget`` holds, with what branches take or without."""
        bitops, size = self.bitops_linear + self.branch_bitops, self.bytes
        if not branch_in_budget:
            bitops, size = self.bitops_linear, size - self.branch_bytes
        limit = budget_limit(sum(op.macs for op in self.searchable), budget)
        within = (limit is None or bitops <= limit) and size <= budget.bytes
        return within and (budget.weight_bits is None or self.weight_bits <= budget.weight_bits)

    def to_json(self) -> dict[str, Any]:
        """Return all totals, then the operators."""
        rows = [asdict(op) | {"bitops": op.bitops, "bytes": op.bytes} for op in self.operators]
        return {name: getattr(self, name) for name in _TOTALS} | {"operators": rows}


@dataclass(frozen=True)
class CountOptions:
    """What a count depends on besides the precisions.

    ``attention_bits`` holds for both operands of QK^T and AV, ``None`` for 16. ``storage`` has
    measured bytes of quantization parameters by layer, which replace those that follow from the
    formats. ``extra`` operators (branches, transforms) count at their own bits.
    """

    weight_format: WeightFormat
    activation_format: ActivationFormat
    attention_bits: int | None = None
    storage: Mapping[str, QParamBytes] = field(default_factory=dict)
    extra: Sequence[Operator] = ()


def count(
    transformer: nn.Module,
    groups: Sequence[Group],
    allocation: Mapping[str, Precision],
    options: CountOptions,
) -> CostReport:
    """Count ``transformer`` (its original layers; the meta device is enough) under ``allocation``.

    ``allocation`` covers all ``groups``; a precision with a group size has formats of its own: more
    scales, the same BitOPs. Raises BenchError for an allocation that does not fit the groups, a
    group size that does not divide a width, and a layer the count does not know.
    """
    check_allocation([group.name for group in groups], allocation)
    rows = [
        _quantized(row, transformer, allocation, options) for row in _skeleton(transformer, groups)
    ]
    for op in options.extra:
        if op.searchable:
            raise BenchError(f"extra operator {op.name} cannot be searchable: it is no layer")
    for name in options.storage.keys() - {row.name for row in rows if row.group is not None}:
        raise BenchError(f"stored bytes are given for {name}, which is in no group")
    parameters = sum(row.weights + row.biases for row in rows)
    return CostReport((*rows, *options.extra), parameters)


def _quantized(
    row: Operator,
    transformer: nn.Module,
    allocation: Mapping[str, Precision],
    options: CountOptions,
) -> Operator:
    """Return an operator of the model in floating point at the bits that it gets."""
    if row.kind in ("attn.qk", "attn.av"):
        bits = options.attention_bits or FULL_BITS
        return replace(row, weight_bits=bits, activation_bits=bits)
    if row.group is None:
        return row
    precision, layer = allocation[row.group], linear_layer(transformer, row.name)
    fmt, activation_format = precision.formats(options.weight_format, options.activation_format)
    if precision.activation is not None and activation_format.group is not None:
        check_group(row.name, layer.in_features, activation_format.group)
    scales = 0
    if precision.weight is not None:
        scales = scale_count(layer.out_features, layer.in_features, fmt, row.name)
    derived = qparam_bytes(precision, activation_format, scales, 0 if fmt.symmetric else scales)
    stored = options.storage.get(row.name, derived)
    return replace(
        row,
        weight_bits=precision.weight_bits,
        activation_bits=precision.activation_bits,
        scale_bytes=stored.scale,
        zero_bytes=stored.zero + stored.input_zero,
    )


def conventions(transformer: nn.Module, precision: Precision) -> dict[str, int]:
    """Return BitOPs of one forward at uniform ``precision`` under the conventions in use elsewhere.

    ``uniform``: everything at w*a. ``linear``: searchable linears only. ``recommended``: linears
    w*a, attention products a*a, the rest in floating point. Variants of it: ``attention_full``
    (products in floating point), ``adaln_quantized`` (adaLN at w*a) and ``softmax_8`` (attention
    weights at 8 bits in AV).
    """
    w, a = precision.weight_bits, precision.activation_bits
    softmax = FULL_BITS if precision.activation is None else SOFTMAX_BITS
    full = FULL_BITS**2
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
    """Return the MACs of each searchable group in one forward of one image."""
    macs = {group.name: 0 for group in groups if group.searchable}
    for row in _skeleton(transformer, groups):
        if row.group in macs:
            macs[row.group] += row.macs
    return macs


def budget_limit(macs: int, budget: Budget) -> int | None:
    """Return the BitOPs of ``macs`` at the budget's precision; ``None`` for floating point."""
    if budget.precision.is_full:
        return None
    return macs * budget.precision.weight_bits * budget.precision.activation_bits


def _skeleton(transformer: Any, groups: Sequence[Group]) -> Iterator[Operator]:
    """Yield every operator in floating point: modules in their order, then attention products.

    diffusers keeps a copy of the time and label embedder in every block: the first is counted.
    """
    of_layer = {path: group for group in groups for path in group.layers}
    for path in of_layer:
        linear_layer(transformer, path)
    tokens = token_count(transformer)
    for name, module in transformer.named_modules():
        sizes = {key: p.numel() for key, p in module.named_parameters(recurse=False)}
        if not sizes or (".norm1.emb." in name and not name.startswith(_EMBEDDER)):
            continue
        biases = sizes.pop("bias", 0)
        weights = sum(sizes.values())
        group, sizes_of = of_layer.get(name), {"weights": weights, "biases": biases}
        if group is not None:
            yield Operator(
                name, group.kind, weights * group.tokens, **sizes_of,
                group=group.name, searchable=group.searchable,
            )  # fmt: skip
        else:
            kind = "norm" if isinstance(module, nn.LayerNorm) else _FIXED_KINDS.get(name)
            if kind is None:
                raise BenchError(f"the cost of {name} ({type(module).__name__}) is not known")
            rows = tokens if kind in _PER_TOKEN else 0 if kind in _NO_MACS else 1
            yield Operator(name, kind, weights * rows, **sizes_of)
    for index, block in enumerate(transformer.transformer_blocks):
        macs = tokens * tokens * block.attn1.to_q.out_features
        for kind in ("attn.qk", "attn.av"):
            yield Operator(f"transformer_blocks.{index}.{kind}", kind, macs)
