"""Options that several subcommands share, and functions that begin and end their work."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ..core.errors import BenchError, shown
from ..core.formats import formats_of_class
from ..core.precision import Budget
from ..core.protocol import Protocol
from ..core.settings import SEEDS
from ..core.suite import MOST_REALIZATIONS, Job, Suite
from ..core.terminal import console, echo
from ..core.yaml_text import dump_yaml
from . import completion

# Files of a study or an ablation that hold its table.
_TABLES = ("ablation.md", "searchers.md", "proxies.md", "branches.md", "realizations.md")

_Command = TypeVar("_Command", bound=Callable[..., Any])

plugins = click.option(
    "--plugins", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
    help="Python file or folder with a PLUGINS table; repeatable.",
)  # fmt: skip
device = click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE", help="cpu, cuda, cuda:1, ..."
)
workers = click.option(
    "--workers", type=click.IntRange(min=1), metavar="N",
    help="Share the jobs among N processes of this machine, of one thread each unless "
    "OMP_NUM_THREADS says otherwise; on cpu by default as many as there are processors, or "
    "MPQBENCH_WORKERS.",
)  # fmt: skip
_PARALLEL = (
    workers,
    click.option("--devices", metavar="cuda:0,cuda:1", callback=lambda *given: _listed(given[-1]),
                 help="Instead of --device: one for each worker; without --workers as many workers "
                 "as devices."),
    click.option("--isolate", is_flag=True,
                 help="Run jobs in a process of their own: one that ends its process, such as a "
                 "plugin that crashes, fails after a second try, and the others go on."),
    click.option("--job-timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
                 help="Kill a job that takes longer; the job fails. Implies --isolate."),
    click.option("--job-memory", type=click.FloatRange(min=0, min_open=True), metavar="GB",
                 help="Kill a job whose process needs more memory; the job fails. "
                 "Implies --isolate."),
    click.option("--executor", type=click.Choice(["in-process", "processes", "dask"]),
                 help="Where jobs are run; by default in processes on cpu or with the options "
                 "above, else in this process."),
    click.option("--scheduler", metavar="ADDRESS",
                 help="Scheduler of Dask, such as tcp://host:8786; without it '--executor dask' "
                 "starts --workers processes of its own."),
)  # fmt: skip
dry_run = click.option(
    "-n", "--dry-run", is_flag=True, help="Print what would be run, and its jobs; run nothing."
)


# Fields of the protocol, which every command that runs jobs can replace.
_PROTOCOL = (
    click.option("--images", type=click.IntRange(min=1), metavar="N", help="Images per job."),
    click.option("--steps", type=click.IntRange(1, 1000), metavar="N",
                 help="Sampling steps, 1 to 1000."),
    click.option("--sampler", type=click.Choice(["ddim", "ddpm", "euler"]), help="Sampler."),
    click.option("--convention", type=click.Choice(["original", "diffusers"]),
                 help="Arithmetic of the sampler as in this code base."),
    click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]),
                 help="Of the transformer."),
    click.option("--compile", "compiled", is_flag=True, default=None,
                 help="Sample faster, with other last bits: a class-conditional DiT on a processor "
                 "through compiled kernels, any other through torch.compile, which needs a C++ "
                 "compiler and half a minute for each quantized model."),
    click.option("--micro-batch", type=click.IntRange(min=1), metavar="N",
                 help="Images per forward; may change last bits."),
    click.option("--calibration", type=click.IntRange(min=1), metavar="N",
                 help="Calibration inputs."),
    click.option("--features", metavar="NAME",
                 help="Feature network; 'none' for fidelity and cost alone."),
    click.option("--feature-weights", metavar="PATH", help="Weights of the feature network."),
    click.option("--reference", metavar="REF", help="Reference statistics or images."),
    click.option("--prompts", metavar="FILE",
                 help="Prompts, one on each line, for the pipeline's text encoders."),
    click.option("--prompt-embeddings", metavar="FILE",
                 help="Embeddings of prompts, as safetensors."),
    click.option("--lpips-weights", metavar="FILE",
                 help="Weights of torchvision's AlexNet, for LPIPS."),
    click.option("--clip", metavar="PATH", help="Folder of a CLIP, for the CLIP score of prompts."),
    click.option("--guidance", type=click.FloatRange(1, 1000), metavar="G",
                 help="Guidance scale; 1 for none."),
    click.option("--image-size", type=click.IntRange(1, 65_536), metavar="N",
                 help="Pixels of a side, where the model leaves its size open."),
)  # fmt: skip


def protocol(command: _Command) -> _Command:
    """Add an option for each field of the protocol to ``command``; without it a field stays."""
    for option in reversed(_PROTOCOL):
        command = option(command)
    return command


def parallel(command: _Command) -> _Command:
    """Add the options of processes that share the jobs to ``command``."""
    for option in reversed(_PARALLEL):
        command = option(command)
    return command


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


class _BudgetText(click.ParamType):
    name = "budget"

    def convert(self, value: str, param: object, ctx: object) -> str:
        try:
            Budget.parse(value)
        except BenchError as error:
            raise BenchError(f"--budget: {error}") from None
        return value


BUDGET = _BudgetText()


def budgets(usual: str) -> Callable[[_Command], _Command]:
    """Return the option of the budgets, which are ``usual`` without the option."""
    text = f"Budget instead of {usual}; repeatable."
    return click.option(
        "--budget", "budgets", multiple=True, type=BUDGET, metavar="W4A4", help=text,
        shell_complete=completion.budgets,
    )  # fmt: skip


def formats(text: str) -> Callable[[_Command], _Command]:
    """Return the option of classes of formats, with ``text`` as its help."""
    return click.option("--formats", metavar="channel,g32", callback=_classes, help=text)


def _classes(ctx: object, param: object, text: str | None) -> tuple[str, ...]:
    names = _listed(text)
    try:
        for name in names:
            formats_of_class(name)
    except BenchError as error:
        raise BenchError(f"--formats: {error}") from None
    return names


def seeds(usual: str) -> Callable[[_Command], _Command]:
    """Return the option of the seeds, which are ``usual`` without the option."""
    text = f"Seeds of the images that are measured instead of {usual}, separated by commas."
    return click.option("--seeds", "--seed", metavar="0,1,2", callback=_seeds, help=text)


realizations = click.option(
    "--realizations", type=click.IntRange(1, MOST_REALIZATIONS), metavar="R",
    help="Quantized models of each method and budget, each with a calibration set of its own, "
    "instead of the suite's number.",
)  # fmt: skip


def _seeds(ctx: object, param: object, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = text.split(",")
    if all(re.fullmatch(r" *[0-9]{1,19} *", part) and int(part) < SEEDS for part in parts):
        return tuple(map(int, parts))
    raise BenchError(
        f"--seeds {shown(text)} must be whole numbers with commas, such as 0,1,2, below 2^63"
    )


def out(name: str) -> Callable[[_Command], _Command]:
    """Return the option of the folder of results, which is ``runs/NAME`` without the option."""
    text = f"Folder instead of runs/{name}."
    return click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help=text)


def of_study(command: _Command) -> _Command:
    """Add the options that every study has to ``command``, which gets them in ``**shared``."""
    every = (
        click.option("--model", metavar="NAME", shell_complete=completion.models,
                     help="Model instead of the study's."),
        protocol, device, out("STUDY"), plugins, dry_run,
    )  # fmt: skip
    for option in reversed(every):
        command = option(command)
    return command


def overrides(given: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a suite that are set in ``given`` or by ``of_study`` (``shared``)."""
    names = [option for option in shared if option in Protocol.model_fields]
    changed = {name: shared[name] for name in names if shared[name] is not None}
    models = {"models": (shared["model"],)} if shared.get("model") else {}
    every = {**given, **models, "protocol": changed}
    return {key: value for key, value in every.items() if value}


def load(suite: str, given: Mapping[str, Any], shared: Mapping[str, Any]) -> Suite:
    """Return a suite with ``overrides``. Raises BenchError, as for a model that cannot exist.

    Nothing heavy is imported before the options are known to be right.
    """
    from ..dit.configs import check_model
    from ..lab.suites import load_suite

    resolved = load_suite(suite, overrides(given, shared))
    for model in resolved.models:
        check_model(model, shared.get("plugins") or ())
    return resolved


def settings(shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, under the names of the calls of ``mpqbench.api``."""
    given = {key: value for key, value in shared.items() if value not in (None, ())}
    return given | ({"models": (given.pop("model"),)} if "model" in given else {})


def with_workers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``settings`` with as many workers as processors, where nothing says how many."""
    told = ("workers", "devices", "executor", "scheduler")
    if settings["device"] != "cpu" or any(settings.get(name) for name in told):
        return dict(settings)
    return {**settings, "workers": "auto"}


def show_jobs(jobs: Sequence[Job], session: Any, heading: str = "") -> None:
    """Print ``heading``, the folder of results and every job with its fingerprint and state.

    Raises BenchError where a job could not be run or judged, before anything is printed.
    """
    from ..lab.suite import check_jobs, look_up

    check_jobs(jobs, session.resources)
    states = [look_up(job, session) for job in jobs]
    echo(f"{heading}{len(jobs)} jobs into {session.store.folder}:")
    for job, (fingerprint, done) in zip(jobs, states, strict=True):
        echo(f"  {job.id:60s} {fingerprint}  {'done before' if done else 'to run'}")


def show_suite(suite: Suite, jobs: Sequence[Job], session: Any) -> None:
    """Print a suite with all its settings, and its jobs as ``show_jobs``."""
    show_jobs(jobs, session, heading=f"{dump_yaml(suite.model_dump(mode='json'))}\n")


def show_tables(paths: Sequence[Path]) -> None:
    """Print the tables of a study or an ablation, which are among the files it wrote, then all."""
    from rich.markdown import Markdown

    for path in paths:
        if path.name in _TABLES:
            console(width=120).print(Markdown(path.read_text(encoding="utf-8"), hyperlinks=False))
    for path in paths:
        echo(path)


def finish(paths: Sequence[Path], failed: bool) -> None:
    """Print as ``show_tables``; exit with code 1 where a job failed, as its row says."""
    show_tables(paths)
    if failed:
        sys.exit(1)
