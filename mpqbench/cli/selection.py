"""Options that say what tables and figures show; without one a key of the selection stays."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..core.errors import BenchError

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _names(ctx: object, param: object, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _pairs(ctx: object, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str] | None:
    pairs = {}
    for text in texts:
        name, is_pair, value = text.partition("=")
        if not (name and is_pair and value):
            raise BenchError(
                f"{param.opts[0]} '{text}': write METHOD=TEXT, such as treeq=\"TreeQ\""
            )
        pairs[name.strip()] = value.strip()
    return pairs or None


def _width(ctx: object, param: object, text: str | None) -> str | float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


_OPTIONS = {
    "methods": click.option("--methods", callback=_names, metavar="A,B",
                            help="Only these methods, in this order."),
    "models": click.option("--models", callback=_names, metavar="A,B", help="Only these models."),
    "budgets": click.option("--budgets", callback=_names, metavar="W4A4,W3A3",
                            help="Only these budgets, in this order."),
    "formats": click.option("--formats", callback=_names, metavar="channel,g32",
                            help="Only these classes of formats."),
    "columns": click.option("--columns", callback=_names, metavar="fd,delta,bitops",
                            help="Columns of tables, by their names in the CSV file; 'delta' is "
                            "fd_delta."),
    "order": click.option("--order", metavar="COLUMN",
                          help="Sort the rows of a budget by this column, the best first."),
    "labels": click.option("--label", "--labels", "labels", multiple=True, callback=_pairs,
                           metavar="METHOD=TEXT", help="What a method is called; repeatable."),
    "highlight": click.option("--highlight", metavar="METHOD",
                              help="Mark this method; it is nobody's baseline."),
    "pivot": click.option("--pivot", metavar="AXIS",
                          help="One row per method: budget, format or model goes across."),
    "intervals": click.option("--intervals/--no-intervals", default=None,
                              help="Half-widths behind the values.  [default: with them]"),
    "width": click.option("--width", callback=_width, metavar="column|text|INCHES",
                          help="Width in a two-column article; a table that does not fit takes the "
                          "text's.  [default: column]"),
    "titles": click.option("--titles", is_flag=True, default=None,
                           help="Draw titles and notes into figures."),
    "costs": click.option("--cost", "costs", callback=_names, metavar="bytes,bitops_linear",
                          help="Costs of a trade-off.  [default: bitops and bitops_linear]"),
    "caption": click.option("--caption", metavar="TEXT", help="Caption of LaTeX tables."),
}  # fmt: skip


_OF_FIGURES = (
    "methods", "models", "budgets", "formats", "labels", "highlight", "width", "costs", "titles",
)  # fmt: skip


def selecting(command: _Command) -> _Command:
    """Add the options to ``command``, which gets them as keywords; ``taken`` takes them out."""
    for option in reversed(_OPTIONS.values()):
        command = option(command)
    return command


def selecting_figures(command: _Command) -> _Command:
    """Add the options that change figures to ``command``, as ``selecting``."""
    for name in reversed(_OF_FIGURES):
        command = _OPTIONS[name](command)
    return command


def taken(asked: dict[str, Any]) -> dict[str, Any]:
    """Take the options of ``selecting`` out of ``asked``; return those that were given."""
    found = {name: asked.pop(name) for name in _OPTIONS if name in asked}
    return {name: value for name, value in found.items() if value is not None}
