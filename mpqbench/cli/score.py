"""``mpqbench score``: compute the metrics of images on disk."""

import json
from typing import Any

import click
from rich.table import Table

from ..core.terminal import console
from . import options


@click.command()
@click.argument("images", metavar="IMAGES")
@click.option("--reference", required=True, metavar="REF",
              help="'embedded', an .npz of statistics or images, or a folder.")  # fmt: skip
@click.option("--features", default="fashion", show_default=True, metavar="NAME",
              help="Feature network.")  # fmt: skip
@click.option("--feature-weights", metavar="PATH",
              help="Weights of the feature network instead of the usual ones.")  # fmt: skip
@options.device
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def score(images: str, reference: str, as_json: bool, **network: Any) -> None:
    """Score IMAGES against a reference: Frechet distances, IS, precision, recall, KID.

    IMAGES is a folder of PNG files, a folder of sample shards, or an .npz file with the key arr_0.

    \b
    Examples:
      mpqbench score samples/ --reference embedded
      mpqbench score samples.npz --features inception-adm \\
          --reference VIRTUAL_imagenet256_labeled.npz --device cuda
    """
    result = _scored(images, reference, **network)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        _print(result)


def _scored(
    images: str, reference: str, features: str, feature_weights: str | None, device: str
) -> dict[str, Any]:
    """Return everything that is printed, as plain data."""
    from ..metrics.features import load_extractor
    from ..metrics.images import open_images
    from ..metrics.reference import load_reference
    from ..metrics.score import labels, metric_fingerprint
    from ..metrics.score import score as score_features

    source = open_images(images)
    extractor = load_extractor(features, feature_weights, device)
    extractor.check(source)  # before a reference may take minutes
    against = load_reference(reference, extractor)
    scores = score_features(extractor.extract(source), against, source.classes)
    names = labels(extractor.name)
    return {
        "images": images,
        "count": source.count,
        "features": {"name": extractor.name, "weights": extractor.digest},
        "reference": {"name": against.name, "count": against.count, "digest": against.digest},
        "fingerprint": metric_fingerprint(extractor, source.count, against),
        "metrics": {
            key: {"label": names[key], "value": found.value, "ci": found.ci}
            for key, found in scores.items()
        },
    }


def _print(result: dict[str, Any]) -> None:
    reference = result["reference"]
    size = "" if reference["count"] is None else f" ({reference['count']:,} images)"
    features = f"features {result['features']['name']}"
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
    screen.print("±: half the 95% interval (delete-group jackknife)", soft_wrap=True)
