"""``mpqbench score``: compute the metrics of images on disk."""

import json
from dataclasses import asdict, replace
from typing import Any

import click
from rich.table import Table

from ..core.errors import BenchError
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
    result = _scored(images, reference, **settings)
    if as_json:
        echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        _print(result)


def _scored(
    images: str, reference: str, *, recursive: bool, precision_recall: Any, **network: Any
) -> dict[str, Any]:
    """Return everything that is printed, as plain data."""
    from ..metrics.features import load_extractor
    from ..metrics.images import open_images
    from ..metrics.reference import load_reference
    from ..metrics.score import labels, metric_fingerprint, missing
    from ..metrics.score import score as score_features

    source = open_images(images, recursive)
    if source.count < 2:
        raise BenchError(f"{images} has {source.count} image: metrics need at least 2")
    extractor = load_extractor(network["features"], network["feature_weights"], network["device"])
    extractor.check(source)  # before a reference may take minutes
    against = load_reference(reference, extractor, recursive)
    against = replace(against, arithmetic=precision_recall)
    notes = (*source.report, *against.notes, *missing(source.count, extractor.dimension))
    for line in (source.summary, *notes):
        echo(line, err=True)
    scores = score_features(extractor.extract(source), against, source.classes)
    names = labels(extractor.title)
    return {
        "images": images,
        "count": source.count,
        "formats": source.formats,
        "skipped": [asdict(each) for each in source.skipped],
        "notes": notes,
        "features": {
            "name": extractor.name,
            "weights": extractor.digest,
            "title": extractor.title,
        },
        "reference": {"name": against.name, "count": against.count, "digest": against.digest},
        "precision_recall": against.arithmetic,
        "fingerprint": metric_fingerprint(extractor, source.count, against),
        "metrics": {
            key: {"label": names[key], "value": found.value, "ci": found.ci}
            for key, found in scores.items()
        },
    }


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
