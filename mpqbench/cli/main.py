"""The command ``mpqbench``: a subcommand is imported only when it is called."""

import importlib
import os
import sys
import warnings
from typing import Any

import click

from .. import __version__
from ..core.errors import BenchError, BenchWarning, unknown
from ..core.stop import EXIT_CODE, Terminated, sigterm_raises
from ..core.terminal import echo, one_line, safe_streams

# subcommand -> (module:function, one line for --help)
VERBS = {
    "run": ("run:run", "Run a suite and make its leaderboard."),
    "study": ("study:study", "Compare searchers, proxies and branches on equal terms."),
    "ablate": ("ablate:ablate", "Measure what each component of a method contributes."),
    "list": ("plugins:list_plugins", "List plugins, suites, protocols and models."),
    "info": ("plugins:info", "Explain a plugin, method, suite, protocol or model."),
    "check": ("check:check", "Check that a plugin fulfils the contract of its kind."),
    "new": ("new:new", "Write a plugin, a method or a package to start from."),
    "cost": ("cost:cost", "Count MACs, BitOPs and bytes of a model."),
    "score": ("score:score", "Compute the metrics of a folder or .npz of images."),
    "status": ("status:status", "Show how far a run is, and estimate the time left."),
    "report": ("report:report", "Render tables and figures from a run."),
    "figure": ("figure:figure", "Draw one figure of runs for a paper."),
    "verify": ("verify:verify", "Recompute what can be recomputed of the records of runs."),
    "leaderboard": ("leaderboard:leaderboard", "Build, check and extend leaderboards."),
    "merge": ("merge:merge", "Merge runs into one folder or one table."),
    "recount": ("recount:recount", "Count the costs of records again by today's rule."),
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
        echo(f"warning: {one_line(message)}", err=True)
    else:
        echo(warnings.formatwarning(message, category, *place[:2]).rstrip(), err=True)


def main() -> None:
    """Run the command line; a mistake in the input is one sentence and exit code 2."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    os.environ["MPLBACKEND"] = "agg"  # figures are files; matplotlib refuses an unknown backend
    with safe_streams() as output, sigterm_raises():
        code = _exit_code()
        output.flush()
        if output.failure:
            echo(f"error: the output cannot be written: {output.failure}", err=True)
            code = code or 1
    sys.exit(code)


def _exit_code() -> int:
    try:
        return group.main(prog_name="mpqbench", standalone_mode=False) or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BenchError as error:
        echo(f"error: {one_line(error)}", err=True)
        return 2
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the help itself
        return error.exit_code
    except click.ClickException as error:
        echo(f"error: {one_line(error.format_message())}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo("stopped; the same command resumes here", err=True)
        return 130
    except Terminated:
        echo("stopped by SIGTERM; the same command resumes here", err=True)
        return EXIT_CODE
