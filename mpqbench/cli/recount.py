"""``mpqbench recount``: count the costs of records again by the rule of today."""

from pathlib import Path

import click

from . import options


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@options.plugins
def recount(runs: tuple[Path, ...], plugins: tuple[Path, ...]) -> None:
    """Count the costs of the records in RUN again, from their allocations.

    Nothing is measured again: scores and samples stay, and a record keeps what the older rule
    counted. The tables are made by `mpqbench report RUN` afterwards.

    \b
    Examples:
      mpqbench recount leaderboards/*
    """
    from ..api.jobs import recount_records

    for run in runs:
        done, left = 0, 0
        for found in recount_records(run, plugins=plugins):
            done, left = done + (not found.reason), left + bool(found.reason)
            if found.reason:
                click.echo(f"{run} {found.job}: left as it is: {found.reason}")
        click.echo(f"{run}: {done} records counted again, {left} left as they are")
