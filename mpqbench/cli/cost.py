"""``mpqbench cost``: MACs, BitOPs and bytes of a model under a method, without its weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from ..core.errors import BenchError
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Budget, Precision
from ..core.recipe import Recipe
from ..core.registry import Registry, discover
from ..core.settings import validate
from ..core.terminal import console
from ..core.yaml_text import read_yaml
from ..cost.overhead import COST_RULE, RULES, SOURCES
from . import options

_CHANGES = ("method", "adaln", "attention_bits", "group", "asymmetric")  # of a recipe


@click.command("cost")
@click.option("--model", required=True, metavar="NAME",
              help="Known configuration, embedded model or pipeline folder.")  # fmt: skip
@click.option("--budget", "--precision", "budget", metavar="BUDGET",
              help="Count at its precision, like W4A4, and say whether it is kept.")  # fmt: skip
@click.option("--method", metavar="NAME",
              help="Registered method, or a YAML file of its fields.  [default: rtn]")  # fmt: skip
@click.option("--record", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Count the recipe and allocation of a record instead.")  # fmt: skip
@click.option("--adaln", metavar="WxAy", help="Of the adaLN layers.  [default: the recipe's]")
@click.option("--attention-bits", type=click.IntRange(2, 8),
              help="Of both operands of QK^T and AV.  [default: the recipe's]")  # fmt: skip
@click.option("--group", type=click.IntRange(min=1), metavar="N",
              help="One scale for N channels, on both sides.  [default: the recipe's]")  # fmt: skip
@click.option("--asymmetric", is_flag=True, help="Both sides have zero points.")
@click.option("--cost-rule", type=click.Choice(list(RULES)), default=COST_RULE, show_default=True,
              help="; ".join(f"{name}: {text}" for name, text in RULES.items()) + ".")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), default=250, show_default=True)
@click.option("--guidance-passes", type=click.IntRange(1, 2),
              help="Forwards per step.  [default: 2 with a null condition, else 1]")  # fmt: skip
@click.option("--image-size", type=click.IntRange(1, 65_536), metavar="N",
              help="Pixels of a side, where the model leaves its size open.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@options.plugins
def cost(model: str, as_json: bool, plugins: tuple[Path, ...], **given: Any) -> None:
    """Count a model at a uniform precision. A known configuration needs no download.

    \b
    Examples:
      mpqbench cost --model dit-xl-2-256 --budget W4A4
      mpqbench cost --model dit-xl-2-256 --method treeq --budget W3A3
      mpqbench cost --model fashion-dit --method quarot --budget W4A4 --cost-rule papers --json
    """
    from ..dit.configs import check_model

    check_model(model, plugins)  # before anything heavy is imported
    _check_options(given)
    registry = discover(plugins)
    recipe, budget, allocation = _asked(registry, given)
    report, facts = _count(model, registry, (recipe, budget, allocation), given)
    if as_json:
        known = {"model": model, "method": recipe.name, "budget": str(budget)}
        click.echo(json.dumps(known | facts | report.to_json(), indent=1))
        return
    screen = console()
    screen.print(_table(report, title=f"{model}, {recipe.name} at {budget}"))
    for line in _lines(report, facts):
        screen.print(line)


def _check_options(given: dict[str, Any]) -> None:
    """Raise BenchError for no budget and no record, and for what a record decides itself."""
    if given["record"] is None and given["budget"] is None:
        raise BenchError("nothing to count at: give --budget, like W4A4, or --record")
    for name in ("budget", *_CHANGES) if given["record"] else ():
        if given[name]:
            option = name.replace("_", "-")
            raise BenchError(f"--record decides the recipe and the budget: leave --{option} out")


def _asked(registry: Registry, given: dict[str, Any]) -> tuple[Recipe, Budget, Any]:
    """Return recipe and budget, and the allocation of a record as JSON, if there is one."""
    if given["record"]:
        from ..records.store import RecordStore, read_record

        record, store = read_record(given["record"]), RecordStore(given["record"].parent.parent)
        path = store.allocation_path(record.job)
        counts = {} if record.allocation is None else record.allocation.counts
        kept = store.read_allocation(record.job) if path.is_file() else None
        recipe = validate(Recipe, record.recipe, str(given["record"]))
        return recipe, Budget.parse(record.budget), (counts, kept)
    name = given["method"] or "rtn"
    spec = read_yaml(Path(name)) if name.endswith((".yaml", ".yml")) else name
    recipe = registry.method(spec)
    return _changed(recipe, given), Budget.parse(given["budget"]), None


def _changed(recipe: Recipe, given: dict[str, Any]) -> Recipe:
    """Return ``recipe`` with the bits and the formats that were given."""
    changes: dict[str, Any] = {}
    if given["adaln"]:
        changes["adaln"] = str(Precision.parse(given["adaln"]))
    if given["attention_bits"]:
        changes["attention_bits"] = given["attention_bits"]
    weight, inputs = recipe.weight_format.model_dump(), recipe.activation_format.model_dump()
    if given["group"]:
        weight |= {"granularity": "group", "group": given["group"]}
        inputs |= {"granularity": "token-group", "group": given["group"], "time_groups": 1}
    if given["asymmetric"]:
        weight["symmetric"] = inputs["symmetric"] = False
    changes["weight_format"] = validate(WeightFormat, weight, "weight format")
    changes["activation_format"] = validate(ActivationFormat, inputs, "activation format")
    return recipe.model_copy(update=changes)


def _count(
    model: str, registry: Registry, asked: tuple[Recipe, Budget, Any], given: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the report, and what else is told: the allocation and whether the budget is kept."""
    from ..cost.count import budget_limit, conventions
    from ..dit.architectures import architecture_of
    from ..dit.groups import layer_groups
    from ..dit.loading import meta_transformer
    from ..job.context import Plugins
    from ..job.costing import CountTerms, planned_report, told_allocation, uniform_of

    recipe, budget, record = asked
    transformer = meta_transformer(model, given["image_size"])
    groups, plugins = layer_groups(transformer), Plugins.of(recipe, registry)
    if record is None:
        allocation, what = uniform_of(recipe, budget, groups), "uniform"
    else:
        allocation, what = told_allocation(record[0], recipe, groups, record[1]), "of the record"
    terms = CountTerms(given["steps"], given["cost_rule"])
    report = planned_report(recipe, plugins, transformer, allocation, terms)
    usual = 2 if architecture_of(transformer).null_condition else 1
    report = replace(report, guidance_passes=given["guidance_passes"] or usual)
    limit = budget_limit(transformer, groups, budget)
    facts = {"allocation": what, "searched": plugins.searcher.scored and record is None}
    facts["adaln"] = recipe.adaln
    facts["satisfied"] = report.satisfied(budget, limit, recipe.branch_in_budget)
    facts["conventions"] = conventions(transformer, budget.precision)
    return report, facts


def _lines(report: Any, facts: dict[str, Any]) -> list[str]:
    """Return the sentences below the table."""
    linear = sum(op.macs for op in report.searchable)
    overhead = {name: count for name, count in report.overhead.items() if count}
    tera = "  ".join(f"{name} {value / 1e12:.3f}" for name, value in facts["conventions"].items())
    lines = [
        f"MACs {report.macs:,}  parameters {report.parameters:,}",
        f"BitOPs {report.bitops:,}  of searchable linear layers {report.bitops_linear:,}  "
        f"(cost rule {report.cost_rule})",
        f"BitOPs per image {report.bitops_per_image:,} ({report.guidance_passes} passes x "
        f"{report.steps} steps)",
        f"bytes {report.bytes:,}  effective bits {report.effective_bits:.3f}",
        f"TBitOPs by convention: {tera}",
    ]
    if overhead:
        parts = [f"{name} {count / linear:.2f}" for name, count in overhead.items()]
        total = sum(overhead.values()) / linear
        lines.append(
            f"overhead in BitOPs per MAC of those layers: {', '.join(parts)}, in all {total:.2f}"
        )
    if facts["searched"]:
        lines.append("The method searches an allocation; this is the uniform one of the budget.")
    if not facts["satisfied"]:
        lines.append("The budget is not kept: the method has to choose fewer bits somewhere.")
    return lines


def _table(report: Any, title: str) -> Table:
    """Make one row per kind of operator, in network order, with its share of BitOPs and bytes."""
    table = Table("kind", title=title)
    for name in ("GMACs", "bits", "GBitOPs", "share", "MB", "share"):
        table.add_column(name, justify="right")
    hidden = SOURCES if report.cost_rule == "papers" else ()
    for kind in dict.fromkeys(op.kind for op in report.operators if op.kind not in hidden):
        rows = [op for op in report.operators if op.kind == kind]
        macs = sum(op.macs for op in rows) / 1e9
        bitops, size = sum(op.bitops for op in rows), sum(op.bytes for op in rows)
        bits = sorted({f"{op.weight_bits}x{op.activation_bits}" for op in rows if op.macs})
        shares = f"{bitops / report.bitops:.2%}", f"{size / report.bytes:.2%}"
        cells = f"{bitops / 1e9:.3f}", shares[0], f"{size / 1e6:.3f}", shares[1]
        table.add_row(kind, f"{macs:.4f}", ", ".join(bits), *cells)
    return table
