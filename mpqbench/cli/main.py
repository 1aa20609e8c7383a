"""The command ``mpqbench``: a subcommand is imported only when it is called."""

import importlib
import sys
import warnings
from typing import Any

import click

from .. import __version__
from ..core.errors import BenchError, BenchWarning, unknown

# subcommand -> (module:function, one line for --help)
VERBS = {
    "run": ("run:run", "Run a suite and make its leaderboard."),
    "study": ("study:study", "Compare searchers, proxies and branches on equal terms."),
    "ablate": ("ablate:ablate", "Measure what each component of a method contributes."),
    "list": ("plugins:list_plugins", "List plugins, suites, protocols and models."),
    "info": ("plugins:info", "Show one plugin: parameters, source, origin."),
    "check": ("plugins:check", "Check that a plugin fulfils the contract of its kind."),
    "new": ("plugins:new", "Write a template of a plugin, with its test."),
    "cost": ("cost:cost", "Count MACs, BitOPs and bytes of a model."),
    "score": ("score:score", "Compute the metrics of a folder or .npz of images."),
    "report": ("report:report", "Render tables and figures from a run."),
    "verify": ("verify:verify", "Recompute what can be recomputed of the records of runs."),
    "doctor": ("doctor:doctor", "Show versions, devices and what is missing."),
}


class LazyGroup(click.Group):
    """A group of commands, each of which is imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(f"mpqbench.cli.{module}"), name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise unknown("command", args[0], VERBS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mpqbench")
def group() -> None:
    """The benchmark of mixed-precision quantization for Diffusion Transformers."""


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Print our warnings as one sentence, and others as Python does."""
    if issubclass(category, BenchWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        click.echo(warnings.formatwarning(message, category, *place[:2]), err=True, nl=False)


def main() -> None:
    """Run the command line; a mistake in the input is one sentence and exit code 2."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        sys.exit(group.main(standalone_mode=False) or 0)
    except BenchError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; the same command resumes here", err=True)
        sys.exit(130)
