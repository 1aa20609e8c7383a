"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

plugins_option = click.option(
    "--plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Python file or folder with a PLUGINS table; repeatable.",
)
