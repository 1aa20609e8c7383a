"""``mpqbench score``: judge images that lie on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.argument("images", metavar="IMAGES")
@click.option(
    "--reference",
    required=True,
    metavar="REF",
    help="'embedded', an .npz of statistics or images, or a folder of images.",
)
@click.option(
    "--features", default="fashion", show_default=True, metavar="NAME", help="Feature network."
)
@click.option(
    "--feature-weights", metavar="PATH", help="Weights of the feature network, if not its own."
)
@click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE", help="Such as cpu or cuda."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def score(
    images: str,
    reference: str,
    features: str,
    feature_weights: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Score IMAGES against a reference: Frechet distances, IS, precision, recall, KID.

    IMAGES is a folder of PNG files, a folder of sample shards, or an .npz file with the key arr_0.

    \b
    Examples:
      mpqbench score samples/ --reference embedded
      mpqbench score samples.npz --features inception-adm \\
          --reference VIRTUAL_imagenet256_labeled.npz --device cuda
    """
    result = _judge(images, reference, features, feature_weights, device)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(_heading(result), soft_wrap=True)
    console.print(_table(result))
    console.print("±: half the 95% interval (delete-group jackknife)", soft_wrap=True)


def _judge(
    images: str, reference: str, features: str, feature_weights: str | None, device: str
) -> dict[str, Any]:
    """Everything that is printed, as plain data."""
    from ..metrics.extractors import load_extractor
    from ..metrics.images import open_images
    from ..metrics.reference import load_reference
    from ..metrics.score import labels, metric_fingerprint
    from ..metrics.score import score as score_features

    source = open_images(images)
    extractor = load_extractor(features, feature_weights, device)
    extractor.check(source)  # before a reference may take minutes
    judge = load_reference(reference, extractor)
    scores = score_features(extractor.extract(source), judge, source.classes)
    names = labels(extractor.name)
    return {
        "images": images,
        "count": source.count,
        "features": {"name": extractor.name, "weights": extractor.digest},
        "reference": {"name": judge.name, "count": judge.count, "digest": judge.digest},
        "fingerprint": metric_fingerprint(extractor, source.count, judge),
        "metrics": {
            key: {"label": names[key], "value": item.value, "ci": item.ci}
            for key, item in scores.items()
        },
    }


def _heading(result: dict[str, Any]) -> str:
    judge = result["reference"]
    size = "" if judge["count"] is None else f" ({judge['count']:,} images)"
    name = result["features"]["name"]
    return f"N = {result['count']:,}, reference {judge['name']}{size}, features {name}"


def _table(result: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("±", justify="right")
    for metric in result["metrics"].values():
        interval = "" if metric["ci"] is None else f"{metric['ci']:.2g}"
        table.add_row(metric["label"], f"{metric['value']:.5g}", interval)
    return table
