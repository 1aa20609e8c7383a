"""``mpqbench cost``: MACs, BitOPs and bytes of a model at a precision, without its weights."""

import json
from dataclasses import replace
from typing import Any

import click
from rich.table import Table

from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Precision
from ..core.settings import validate
from ..core.terminal import console


@click.command("cost")
@click.option("--model", required=True, metavar="NAME",
              help="Known configuration, embedded model or local DiTPipeline folder.")  # fmt: skip
@click.option("--precision", required=True, metavar="WxAy", help="Of the searchable layers.")
@click.option("--adaln", metavar="WxAy",
              help="Of the adaLN layers.  [default: W8A8; FP with --precision FP]")  # fmt: skip
@click.option("--attention-bits", type=click.IntRange(2, 16), default=16, show_default=True,
              help="Of both operands of QK^T and AV.")  # fmt: skip
@click.option("--weight-granularity", type=click.Choice(["tensor", "channel", "group"]),
              default="channel", show_default=True)  # fmt: skip
@click.option("--weight-group", type=click.IntRange(min=1), metavar="N",
              help="Columns that share a scale, for granularity 'group'.")  # fmt: skip
@click.option("--asymmetric", is_flag=True, help="Weights have zero points.")
@click.option("--steps", type=click.IntRange(min=1), default=250, show_default=True)
@click.option("--guidance-passes", type=click.IntRange(1, 2), default=2, show_default=True,
              help="Forwards per step: 2 with classifier-free guidance.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def cost(model: str, precision: str, adaln: str | None, as_json: bool, **options: Any) -> None:
    """Count a model at a uniform precision. A known configuration needs no download.

    \b
    Examples:
      mpqbench cost --model dit-xl-2-256 --precision W4A4
      mpqbench cost --model fashion-dit --precision W3A6 --adaln FP --json
    """
    bits = Precision.parse(precision)
    fixed = Precision.parse(adaln or ("FP" if bits.is_full else "W8A8"))
    report, totals = _count(model, bits, fixed, options)
    if as_json:
        policy: dict[str, Any] = {"model": model, "precision": str(bits), "adaln": str(fixed)}
        policy |= {k: options[k] for k in ("attention_bits", "weight_granularity", "weight_group")}
        policy |= {"weight_symmetric": not options["asymmetric"], "conventions": totals}
        click.echo(json.dumps(policy | report.to_json(), indent=1))
        return
    screen = console()
    screen.print(_table(report, title=f"{model} at {bits}, adaLN {fixed}"))
    tera = "  ".join(f"{name} {value / 1e12:.3f}" for name, value in totals.items())
    passes = f"{report.guidance_passes} passes x {report.steps} steps"
    for line in (
        f"MACs {report.macs:,}  parameters {report.parameters:,}",
        f"BitOPs {report.bitops:,}  of searchable linear layers {report.bitops_linear:,}",
        f"BitOPs per image {report.bitops_per_image:,} ({passes})",
        f"bytes {report.bytes:,}  effective bits {report.effective_bits:.3f}",
        f"TBitOPs by convention: {tera}",
    ):
        screen.print(line)


def _count(
    model: str, precision: Precision, adaln: Precision, options: dict[str, Any]
) -> tuple[Any, dict[str, int]]:
    """Return the report, and the BitOPs by convention."""
    from ..dit.configs import check_model

    check_model(model)  # before anything heavy is imported
    from ..cost.count import CountOptions, conventions, count
    from ..dit.groups import layer_groups, uniform_allocation
    from ..dit.loading import meta_transformer

    fields = {name: options[f"weight_{name}"] for name in ("granularity", "group")}
    fields["symmetric"] = not options["asymmetric"]
    weights = validate(WeightFormat, fields, "weight format")
    transformer = meta_transformer(model)
    groups = layer_groups(transformer)
    counted = CountOptions(weights, ActivationFormat(), options["attention_bits"])
    report = count(transformer, groups, uniform_allocation(groups, precision, adaln), counted)
    passes, steps = options["guidance_passes"], options["steps"]
    report = replace(report, guidance_passes=passes, steps=steps)
    return report, conventions(transformer, precision)


def _table(report: Any, title: str) -> Table:
    """Make one row per kind of operator, in network order, with its share of BitOPs and bytes."""
    table = Table("kind", title=title)
    for name in ("GMACs", "bits", "GBitOPs", "share", "MB", "share"):
        table.add_column(name, justify="right")
    for kind in dict.fromkeys(op.kind for op in report.operators):
        rows = [op for op in report.operators if op.kind == kind]
        macs = sum(op.macs for op in rows) / 1e9
        bitops, size = sum(op.bitops for op in rows), sum(op.bytes for op in rows)
        bits = sorted({f"{op.weight_bits}x{op.activation_bits}" for op in rows})
        shares = f"{bitops / report.bitops:.2%}", f"{size / report.bytes:.2%}"
        cells = f"{bitops / 1e9:.3f}", shares[0], f"{size / 1e6:.3f}", shares[1]
        table.add_row(kind, f"{macs:.4f}", ", ".join(bits), *cells)
    return table
