"""BitOPs, bytes and effective bits: the one place that counts, in exact integers.

An operator costs ``MACs x weight bits x activation bits`` in one forward of one image (no factor
2, no guidance, no autoencoder; arXiv 2011.10680). What is in floating point counts 16 bits. The
online overhead of quantization is priced by ``cost.overhead``, and derived in docs/cost.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from ..core.errors import BenchError
from ..core.formats import (
    PER_CHANNEL,
    PER_TOKEN,
    ActivationFormat,
    WeightFormat,
    check_group,
    scale_count,
)
from ..core.precision import FULL_BITS, Budget, Precision
from ..dit.architectures import architecture_of
from ..dit.groups import (
    Group,
    check_allocation,
    layer_groups,
    linear_layer,
    uniform_allocation,
)
from .overhead import COST_RULE, SOURCES, ProductFormat, of_attention, of_group
from .storage import QParamBytes, packed_bytes, qparam_bytes

SOFTMAX_BITS = 8  # of the attention weights, in the convention that quantizes them apart

_TOTALS = ("macs", "parameters", "bitops", "bitops_linear", "bitops_per_image", "overhead",
           "cost_rule", "guidance_passes", "steps", "bytes", "effective_bits")  # fmt: skip
_PLAIN_ADALN = Precision(8, 8)  # of the plain recipe, against which a total is bounded


@dataclass(frozen=True)
class Operator:
    """One row of the count.

    ``macs`` of one forward of one image; ``weights`` and ``biases`` are numbers of values, biases
    in floating point. An attention product has its two operands at ``weight_bits`` and
    ``activation_bits``. ``online`` are the BitOPs of operations that are no MACs.
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
    online: int = 0

    @property
    def bitops(self) -> int:
        """BitOPs of the MACs, and what is ``online``."""
        return self.mac_bitops + self.online

    @property
    def mac_bitops(self) -> int:
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
    duplicates stored once. ``overhead`` are the BitOPs of each of ``overhead.SOURCES``, all part of
    ``bitops``; ``branch_bitops`` are the products of branches alone, which a budget bounds, and
    ``branch_bytes`` what branches store. ``bitops_linear`` and ``weight_bits`` (a mean over
    weights) are of the ``searchable`` linear layers, without their branches. ``effective_bits`` are
    8 x bytes / ``parameters``, which are the model's own. ``bitops_per_image`` is ``bitops`` x
    guidance passes x steps.
    """

    operators: tuple[Operator, ...]
    parameters: int
    guidance_passes: int = 1
    steps: int = 1
    cost_rule: str = COST_RULE

    def _total(self, what: str, kind: str | None = None) -> int:
        return sum(getattr(op, what) for op in self.operators if kind in (None, op.kind))

    macs = property(lambda self: self._total("macs"))
    bytes = property(lambda self: self._total("bytes"))
    branch_bytes = property(lambda self: self._total("bytes", "branch"))
    effective_bits = property(lambda self: 8 * self.bytes / self.parameters)

    searchable = property(lambda self: [op for op in self.operators if op.searchable])
    bitops_linear = property(lambda self: sum(op.bitops for op in self.searchable))
    bitops_per_image = property(lambda self: self.bitops * self.guidance_passes * self.steps)

    @property
    def bitops(self) -> int:
        """BitOPs of everything, under the rule ``papers`` of the searchable layers alone."""
        return self.bitops_linear if self.cost_rule == "papers" else self._total("bitops")

    @property
    def branch_bitops(self) -> int:
        """BitOPs of the products of branches."""
        return self._total("mac_bitops", "branch")

    @property
    def overhead(self) -> dict[str, int]:
        """BitOPs by source, of ``SOURCES``."""
        if self.cost_rule == "papers":
            return dict.fromkeys(SOURCES, 0)
        return {source: self._total("bitops", source) for source in SOURCES}

    @property
    def weight_bits(self) -> float:
        bits = sum(op.weights * op.weight_bits for op in self.searchable)
        return bits / sum(op.weights for op in self.searchable)

    def bounded_bitops(self, budget: Budget, branch_in_budget: bool = True) -> int:
        """Return the BitOPs that ``budget`` bounds, with what branches take or without."""
        if budget.total:
            return self.bitops - (0 if branch_in_budget else self.overhead["branch"])
        return self.bitops_linear + (self.branch_bitops if branch_in_budget else 0)

    def satisfied(self, budget: Budget, limit: int | None, branch_in_budget: bool = True) -> bool:
        """Return whether every bound of ``budget`` holds, with what branches take or without.

        ``limit`` is what ``budget_limit`` gives.
        """
        size = self.bytes - (0 if branch_in_budget else self.branch_bytes)
        within = limit is None or self.bounded_bitops(budget, branch_in_budget) <= limit
        within = within and size <= budget.bytes
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
    formats. ``extra`` operators (branches, transforms) count at their own bits. ``rule`` is one of
    ``overhead.RULES``.
    """

    weight_format: WeightFormat
    activation_format: ActivationFormat
    attention_bits: int | None = None
    storage: Mapping[str, QParamBytes] = field(default_factory=dict)
    extra: Sequence[Operator] = ()
    rule: str = COST_RULE


def count(
    transformer: nn.Module,
    groups: Sequence[Group],
    allocation: Mapping[str, Precision],
    options: CountOptions,
) -> CostReport:
    """Count ``transformer`` (its original layers; the meta device is enough) under ``allocation``.

    ``allocation`` covers all ``groups``; a precision with a group size has formats of its own.
    Raises BenchError for an allocation that does not fit the groups, a group size that does not
    divide a width or the other group size, a layer the count does not know, and ``attention_bits``
    of linear attention.
    """
    check_allocation([group.name for group in groups], allocation)
    rows = [_quantized(r, transformer, allocation, options) for r in _skeleton(transformer, groups)]
    for op in options.extra:
        if op.searchable:
            raise BenchError(f"extra operator {op.name} cannot be searchable: it is no layer")
    for name in options.storage.keys() - {row.name for row in rows if row.group is not None}:
        raise BenchError(f"stored bytes are given for {name}, which is in no group")
    parameters = sum(row.weights + row.biases for row in rows)
    rows += _overhead(transformer, groups, allocation, options)
    return CostReport((*rows, *options.extra), parameters, cost_rule=options.rule)


def _overhead(
    transformer: Any,
    groups: Sequence[Group],
    allocation: Mapping[str, Precision],
    options: CountOptions,
) -> Iterator[Operator]:
    """Yield what the products of groups and of quantized attention execute beside their MACs."""
    for group in groups:
        precision, products = allocation[group.name], {}
        if precision.is_full:
            continue
        formats = precision.formats(options.weight_format, options.activation_format)
        for path in group.layers:
            layer = linear_layer(transformer, path)
            product = ProductFormat(path, layer.in_features, precision, *formats)
            products[path] = (layer.out_features, product)
        for source, online in of_group(products, group.tokens, options.rule):
            yield Operator(f"{group.name}.{source}", source, 0, group=group.name, online=online)
    if options.attention_bits is None:
        return
    for attention in architecture_of(transformer).quantized_attention(transformer):
        for source, online in of_attention(attention, options.attention_bits):
            yield Operator(f"{attention.path}.{source}", source, 0, online=online)


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


def budget_limit(transformer: nn.Module, groups: Sequence[Group], budget: Budget) -> int | None:
    """Return the most BitOPs that ``budget`` allows; ``None`` where it bounds none.

    A total is bounded by that of the plain recipe at uniform precision: rounding to nearest,
    symmetric weights per channel, inputs per token, adaLN at W8A8.
    """
    if budget.precision.is_full:
        return None
    if not budget.total:
        bits = budget.precision.weight_bits * budget.precision.activation_bits
        return sum(group_macs(transformer, groups).values()) * bits
    plain = uniform_allocation(groups, budget.precision, _PLAIN_ADALN)
    return count(transformer, groups, plain, CountOptions(PER_CHANNEL, PER_TOKEN)).bitops


def _skeleton(transformer: Any, groups: Sequence[Group]) -> Iterator[Operator]:
    """Yield every operator in floating point: modules in their order, then attention products."""
    of_layer = {path: group for group in groups for path in group.layers}
    for path in of_layer:
        linear_layer(transformer, path)
    architecture = architecture_of(transformer)
    fixed = architecture.fixed_layers(transformer)
    for name, module in transformer.named_modules():
        sizes = {key: p.numel() for key, p in module.named_parameters(recurse=False)}
        if not sizes or name.startswith(tuple(fixed.copies)):
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
            is_norm = type(module).__name__.endswith("Norm")  # diffusers has norms of its own
            kind = "norm" if is_norm else fixed.kinds.get(name)
            if kind is None:
                raise BenchError(f"the cost of {name} ({type(module).__name__}) is not known")
            rows = 0 if kind in fixed.no_macs else 1
            if kind in fixed.per_token:
                rows = architecture.rows(transformer, kind)
            yield Operator(name, kind, weights * rows, **sizes_of)
    for attention in architecture.attention(transformer):
        for kind, macs in attention.macs.items():
            yield Operator(f"{attention.path}.{kind.removeprefix('attn.')}", kind, macs)
