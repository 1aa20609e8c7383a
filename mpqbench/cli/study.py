"""``mpqbench study``: compare searchers, proxies, branches and realizations."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from ..core.errors import BenchError
from ..core.recipe import PluginChoice
from ..core.settings import validate
from ..core.terminal import echo
from ..core.yaml_text import parse_yaml
from ..dit.configs import check_model
from . import completion, options


@click.group("study")
def study() -> None:
    """Compare searchers at equal evaluations, proxies by their ranking, branches at equal bytes.

    ``realizations`` measures how far one quantized model stands for its method. The same command
    resumes a study that was stopped.
    """


@study.command("searchers")
@click.argument("suite", default="searchers", metavar="[SUITE]", shell_complete=completion.suites)
@options.budgets("the suite's")
@options.seeds("the suite's")
@click.option("--method", multiple=True, metavar="NAME", shell_complete=completion.methods,
              help="Only these of the suite; repeatable.")  # fmt: skip
@click.option("--evaluations", type=click.FloatRange(min=0, min_open=True),
              help="What every search may spend, in forwards of the calibration set.")  # fmt: skip
@options.workers
@options.of_study
def searchers(
    suite: str, method: tuple[str, ...], evaluations: float | None, dry_run: bool, **shared: Any
) -> None:  # fmt: skip
    """Give every searcher of SUITE the same evaluations; report score, FD, regret and seconds.

    \b
    Examples:
      mpqbench study searchers
      mpqbench study searchers --budget W3A3 --seeds 0 --evaluations 500
      mpqbench study searchers mine.yaml --plugins my_searcher.py
    """
    given = {key: shared[key] for key in ("budgets", "seeds")}
    options.load(suite, given, shared)

    from ..api.studies import prepare_searchers

    _run(prepare_searchers, (suite, method, evaluations), options.settings(shared), dry_run)


@study.command("proxies")
@options.budgets("W3A3; one only")
@options.seeds("0; one only")
@click.option("--allocations", type=click.IntRange(min=20), default=64, show_default=True,
              help="How many are sampled and measured.")  # fmt: skip
@click.option("--method", metavar="NAME", shell_complete=completion.methods,
              help="Recipe of the allocations instead of rtn.")  # fmt: skip
@options.workers
@options.of_study
def proxies(
    budgets: tuple[str, ...], seeds: tuple[int, ...], allocations: int, method: str | None,
    dry_run: bool, **shared: Any,
) -> None:  # fmt: skip
    """Sample allocations, measure FD of each, and rank every objective x environment by its tau.

    \b
    Examples:
      mpqbench study proxies
      mpqbench study proxies --budget W4A4 --allocations 100 --method gptq
    """
    methods = () if method is None else (method,)
    options.load("proxies", {"budgets": budgets, "seeds": seeds, "methods": methods}, shared)

    from ..api.studies import prepare_proxies
    from ..api.workers import without_workers
    from ..lab.study.proxies import proxies as proxies_of
    from ..lab.study.proxies import single_job

    given = options.settings(shared | {"budgets": budgets, "seeds": seeds})
    if dry_run:
        prepared = prepare_proxies(allocations, method, **without_workers(given))
        session = prepared.session
        job = single_job(prepared.subject, session)
        names = "\n".join(f"  {proxy.name}" for proxy in proxies_of(session.registry))
        options.show_suite(prepared.subject, [job.reference], session)
        echo(f"{allocations} allocations of '{job.recipe.name}' to sample, ranked by\n{names}")
        return
    _run(prepare_proxies, (allocations, method), given)


@study.command("realizations")
@click.argument(
    "suite", default="realizations", metavar="[SUITE]", shell_complete=completion.suites
)
@options.budgets("the suite's")
@options.seeds("the suite's")
@options.realizations
@options.formats("Classes of formats instead of the suite's.")
@click.option("--method", multiple=True, metavar="NAME", shell_complete=completion.methods,
              help="Only these of the suite; repeatable.")  # fmt: skip
@options.workers
@options.of_study
def realizations(suite: str, method: tuple[str, ...], dry_run: bool, **shared: Any) -> None:
    """Quantize every method several times; compare the spread with that over images.

    \b
    Examples:
      mpqbench study realizations
      mpqbench study realizations --method gptq --budget W3A3 --realizations 3
      mpqbench study realizations equal-terms --formats channel
    """
    axes = ("budgets", "seeds", "realizations", "formats")
    options.load(suite, {axis: shared[axis] for axis in axes}, shared)

    from ..api.studies import prepare_realizations

    _run(prepare_realizations, (suite, method), options.settings(shared), dry_run)


@study.command("branches")
@click.option("--model", default="fashion-dit", show_default=True, metavar="NAME",
              shell_complete=completion.models, help="Model.")  # fmt: skip
@click.option("--bits", type=click.IntRange(2, 7), multiple=True, default=(3, 4),
              show_default=True, help="Of the rounded weights; repeatable.")  # fmt: skip
@click.option("--rank", type=click.IntRange(min=1), multiple=True, default=(2, 4, 8),
              show_default=True, help="A branch has the bytes of this low rank at 8 bits; "
              "repeatable.")  # fmt: skip
@click.option("--branch", multiple=True, metavar="CHOICE",
              help="One more branch: a name, or '{name: monarch, permutation: energy}'; "
              "repeatable.")  # fmt: skip
@click.option("--method", default="rtn", show_default=True, metavar="NAME",
              shell_complete=completion.methods,
              help="Recipe of the layers that get the branch.")  # fmt: skip
@options.seeds("0; one only")
@click.option("--calibration", type=click.IntRange(min=1), default=64, show_default=True,
              help="Calibration inputs, and as many held-out ones.")  # fmt: skip
@options.device
@options.out("branches")
@options.plugins
@options.dry_run
def branches(
    bits: tuple[int, ...], rank: tuple[int, ...], branch: tuple[str, ...], method: str,
    dry_run: bool, **shared: Any,
) -> None:  # fmt: skip
    """Give every branch the same bytes beside every layer; report what is left of its error.

    \b
    Examples:
      mpqbench study branches
      mpqbench study branches --bits 3 --rank 4 --branch "{name: monarch, permutation: energy}"
      mpqbench study branches --method gptq --plugins my_branch.py --branch my-branch
    """
    model, seeds = shared.pop("model"), shared.pop("seeds") or (0,)
    check_model(model)
    if len(seeds) > 1:
        raise BenchError(f"study branches takes one of seeds, not {len(seeds)}")

    from ..api.studies import prepare_branches
    from ..lab.study.branches import variants

    given = options.settings(shared | {"bits": bits, "ranks": rank, "seed": seeds[0]})
    prepared = prepare_branches(model, method, tuple(map(_choice, branch)), **given)
    plan, session = prepared.subject, prepared.session
    if dry_run:
        for variant in variants(plan, session.registry):
            fit = "output" if variant.weighted else "weight"
            echo(f"{variant.name} in the bytes of rank {variant.rank}, fitted to the {fit}")
        echo(f"beside weights of {plan.bits} bits, into {session.store.folder}")
        return
    _finish(prepared.run())


def _run(
    prepare: Callable[..., Any],
    arguments: Sequence[Any],
    given: dict[str, Any],
    dry_run: bool = False,
) -> None:
    """Run a study with the usual workers, or show what would be run."""
    from ..api.workers import run_with, without_workers

    if dry_run:
        prepared = prepare(*arguments, **without_workers(given))
        options.show_suite(prepared.subject, prepared.jobs, prepared.session)
        return
    _finish(run_with(prepare, arguments, options.with_workers(given)))


def _finish(results: Any) -> None:
    options.finish(results.write(), results.has_failed)


def _choice(text: str) -> PluginChoice:
    """Read a name or YAML with a name. Raises BenchError for anything else."""
    data = parse_yaml(text, "--branch")
    if not isinstance(data, str | dict):
        raise BenchError(
            f"--branch '{text}' is not a branch: write a name or '{{name: monarch, block_rank: 2}}'"
        )
    return validate(PluginChoice, data, "--branch")
