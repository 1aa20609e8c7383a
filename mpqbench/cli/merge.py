"""``mpqbench merge``: several runs as one folder, or as one table."""

from collections.abc import Sequence
from pathlib import Path

import click

from ..core.errors import BenchError
from ..core.terminal import echo


@click.command()
@click.argument("run_dirs", metavar="RUN...", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of the merged run: empty, or made by a merge of fewer of these "
              "runs.")  # fmt: skip
@click.option("--samples", is_flag=True, help="Copy the images, too.")
@click.option("--parquet", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write a table with a row for each record.")  # fmt: skip
def merge(run_dirs: Sequence[Path], out: Path | None, samples: bool, parquet: Path | None) -> None:
    """Merge the records, allocations and traces of runs of several people and days.

    A job with the same result in two folders counts once. Jobs with different results are named,
    and nothing is written.

    \b
    Examples:
      mpqbench merge runs/monday runs/tuesday --out runs/both
      mpqbench merge runs/* --parquet records.parquet
    """
    from ..records.merge import write_merge, write_parquet
    from ..records.runs import read_runs

    if out is None and parquet is None:
        raise BenchError("give --out DIR for a merged run, or --parquet FILE for a table")
    if samples and out is None:
        raise BenchError("--samples copies images into --out DIR: give one")
    runs = read_runs(run_dirs)
    for sentence in runs.left_out:
        echo(f"left out: {sentence}")
    if out is not None:
        write_merge(runs, out, samples=samples)
        echo(f"{out}: {len(runs.records)} records of {len(run_dirs)} runs")
    if parquet is not None:
        write_parquet(runs.records, parquet)
        echo(f"{parquet}: {len(runs.records)} rows")
