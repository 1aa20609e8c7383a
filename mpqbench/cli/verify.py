"""``mpqbench verify``: recompute what can be recomputed of the records of runs."""

import sys
from pathlib import Path
from typing import Any

import click

from . import options


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--no-scores", is_flag=True,
              help="Do not compute scores from the samples, which takes longest.")  # fmt: skip
@click.option("--from-images", is_flag=True,
              help="Compute features from the images even where they were kept: a check of records "
              "of others.")  # fmt: skip
@options.device
@options.plugins
def verify(runs: tuple[Path, ...], no_scores: bool, from_images: bool, **settings: Any) -> None:
    """Recompute checksums, digests of files, costs, budgets and scores of the records in RUN.

    Scores are recomputed where samples were kept, from their features where these were kept too,
    costs where the allocation was. Nothing is changed; the exit code is 1 if a record is not what
    it says.

    \b
    Examples:
      mpqbench verify runs/quick
      mpqbench verify runs/theirs --from-images
      mpqbench verify leaderboards/* --no-scores
    """
    from ..api.jobs import verify_records

    count = faults = 0
    for run in runs:
        settings |= {"scores": not no_scores, "from_images": from_images}
        for found in verify_records(run, **settings):
            count, faults = count + 1, faults + bool(found.faults)
            click.echo(f"{run} {found.job}: {'; '.join(found.faults) or 'ok'}")
            if found.unknown:
                click.echo(f"  not recomputed: {'; '.join(found.unknown)}")
    click.echo(f"{count} records, {faults} of them with faults")
    sys.exit(1 if faults else 0)
