"""``mpqbench score``: compute the metrics of images on disk."""

import json
from functools import partial
from typing import Any

import click
from click.core import ParameterSource
from rich.table import Table

from ..core.errors import BenchError
from ..core.terminal import console, echo
from . import options


@click.command()
@click.argument("images", metavar="IMAGES")
@click.option("--reference", metavar="REF",
              help="'embedded', an .npz of statistics or images, or a folder.")  # fmt: skip
@click.option("--features", default="fashion", show_default=True, metavar="NAME",
              help="Feature network.")  # fmt: skip
@click.option("--feature-weights", metavar="PATH",
              help="Weights of the feature network instead of the usual ones.")  # fmt: skip
@click.option("--recursive", is_flag=True, help="Read the images in subfolders too.")
@click.option("--precision-recall", type=click.Choice(["float64", "adm-float16"]),
              default="float64", show_default=True,
              help="Arithmetic of distances; the ADM evaluator's is adm-float16.")  # fmt: skip
@options.device
@click.option("--partial", "is_partial", is_flag=True,
              help="IMAGES is a run: score what its unfinished jobs have.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def score(
    images: str, reference: str | None, is_partial: bool, as_json: bool, **settings: Any
) -> None:
    """Score IMAGES against a reference: Frechet distances, IS, precision, recall, KID.

    IMAGES is a folder of images (PNG, JPEG and other formats), a folder of sample shards, or an
    .npz file with the key arr_0. What is read, skipped and converted is said on stderr.

    With --partial IMAGES is the folder of a run. The shards of jobs that are not done are scored as
    their protocol says, with the difference to full precision on the same images. No record is
    written; values of different numbers of images must not be compared.

    \b
    Examples:
      mpqbench score samples/ --reference embedded
      mpqbench score samples.npz --features inception-adm \\
          --reference VIRTUAL_imagenet256_labeled.npz --device cuda
      mpqbench score runs/full --partial
    """
    from ..api.scores import score as scored
    from ..api.scores import score_partial

    if is_partial:
        _check_partial()
        found = score_partial(images, device=settings["device"])
        echo(json.dumps(found, indent=2, allow_nan=False)) if as_json else _print_partial(found)
        return
    if reference is None:
        raise click.UsageError("Missing option '--reference'.")
    result = scored(images, reference, say=partial(echo, err=True), **settings)
    if as_json:
        echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        _print(result)


def _check_partial() -> None:
    """Raise BenchError for an option that the protocol of a run decides."""
    context = click.get_current_context()
    for name in ("reference", "features", "feature_weights", "recursive", "precision_recall"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise BenchError(f"--{option}: the protocol of the run decides it with --partial")


def _print_partial(result: dict[str, Any]) -> None:
    if not result["jobs"]:
        echo(f"{result['folder']}: no job that is not done has finished shards")
        return
    echo(
        f"{result['folder']}: partial scores, of the images that are there. They are no results: "
        "values of different numbers of images must not be compared."
    )
    for job in result["jobs"]:
        metrics = job["metrics"]
        told = [f"{each['label']} {_cell(each, 'value', 'ci')}" for each in metrics.values()]
        if "delta" in metrics["fd"]:
            told.append(
                f"{metrics['fd']['label']} less that of full precision on the same images "
                f"{_cell(metrics['fd'], 'delta', 'delta_ci')}"
            )
        echo(f"  {job['job']}  {job['images']:,} of {job['of']:,} images: {', '.join(told)}")
    echo("±: half the 95% interval (delete-group jackknife)")


def _cell(metric: dict[str, Any], value: str, interval: str) -> str:
    width = "" if metric[interval] is None else f" ± {metric[interval]:.2g}"
    return f"{metric[value]:.4g}{width}"


def _print(result: dict[str, Any]) -> None:
    reference = result["reference"]
    size = "" if reference["count"] is None else f" ({reference['count']:,} images)"
    features = f"features {result['features']['title']}"
    table = Table("metric")
    for heading in ("value", "±"):
        table.add_column(heading, justify="right")
    for metric in result["metrics"].values():
        interval = "" if metric["ci"] is None else f"{metric['ci']:.2g}"
        table.add_row(metric["label"], f"{metric['value']:.5g}", interval)
    screen = console()
    heading = f"N = {result['count']:,}, reference {reference['name']}{size}, {features}"
    screen.print(heading, soft_wrap=True)
    screen.print(table)
    if any(metric["ci"] is not None for metric in result["metrics"].values()):
        screen.print("±: half the 95% interval (delete-group jackknife)", soft_wrap=True)
