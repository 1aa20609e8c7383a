"""``mpqbench score``: compute the metrics of images on disk."""

import json
from functools import partial
from typing import Any

import click
from rich.table import Table

from ..core.terminal import console, echo
from . import options


@click.command()
@click.argument("images", metavar="IMAGES")
@click.option("--reference", required=True, metavar="REF",
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def score(images: str, reference: str, as_json: bool, **settings: Any) -> None:
    """Score IMAGES against a reference: Frechet distances, IS, precision, recall, KID.

    IMAGES is a folder of images (PNG, JPEG and other formats), a folder of sample shards, or an
    .npz file with the key arr_0. What is read, skipped and converted is said on stderr.

    \b
    Examples:
      mpqbench score samples/ --reference embedded
      mpqbench score samples.npz --features inception-adm \\
          --reference VIRTUAL_imagenet256_labeled.npz --device cuda
    """
    from ..api.scores import score as scored

    result = scored(images, reference, say=partial(echo, err=True), **settings)
    if as_json:
        echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        _print(result)


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
