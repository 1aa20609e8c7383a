"""``mpqbench doctor``: show versions, devices, assets, and how to get what is missing."""

import hashlib
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

import click

from ..core.packages import advice, requirements
from ..core.registry import discover

# Extras of mpqbench that a run may need, and what for.
OPTIONAL = {
    "clean-fid": "features clean-fid",
    "perceptual": "LPIPS",
    "prompts": "text encoders and the CLIP score",
    "search": "searchers evolutionary and tpe",
}
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


@click.command("doctor")
def doctor() -> None:
    """Show versions, devices and digests of the assets; say what is missing and how to get it.

    Exit code 1 where something that mpqbench needs is missing or damaged.
    """
    problems = [*_versions(), *_devices(), *_assets(), *_weights()]
    problems += [f"{origin} is broken: {reason}" for origin, reason in discover().broken.items()]
    click.echo("no problems found" if not problems else f"{len(problems)} problem(s):")
    for problem in problems:
        click.echo(f"  {problem}")
    if problems:
        sys.exit(1)


def _versions() -> list[str]:
    """Print the version of every package that mpqbench declares, and return those missing."""
    problems = []
    click.echo(f"{'python':15s} {platform.python_version()}")
    for name, extra in (("mpqbench", ""), *requirements()):
        if extra not in ("", *OPTIONAL):
            continue
        use = f" (optional, for {OPTIONAL[extra]})" if extra else ""
        try:
            click.echo(f"{name:15s} {version(name)}{use}")
        except PackageNotFoundError:
            hint = advice(name, extra)
            click.echo(f"{name:15s} missing{use}{f': {hint}' if extra else ''}")
            problems += [] if extra else [f"{name} is missing: {hint}"]
    return problems


def _devices() -> list[str]:
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:
        return [f"torch and torchvision do not load together: {error}; install both at once"]
    from ..dit.native import library

    built = "built" if library() else "not built (install again where a C++ compiler is): slower"
    click.echo(f"{'kernels':15s} {built}")
    click.echo(f"{'device':15s} cpu, {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        memory = f"{facts.total_memory / 1e9:.0f} GB"
        click.echo(f"{'device':15s} cuda:{index} {facts.name}, {memory}")
    return []


def _assets() -> list[str]:
    folder = Path(str(files("mpqbench.assets")))
    manifest = folder / "manifest.json"
    if not manifest.exists():
        return [f"{manifest} is missing: install mpqbench again, or run tools/train_embedded.py"]
    problems = []
    for name, digest in json.loads(manifest.read_text(encoding="utf-8"))["sha256"].items():
        path = folder / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
        click.echo(f"{'asset':15s} {name} {found[:16]}")
        if found != digest:
            problems.append(f"asset {name} differs from the released file: install mpqbench again")
    return problems


def _weights() -> list[str]:
    """Print where Inception's weights are; they are optional, as fashion-dit needs none."""
    try:
        from torch.hub import get_dir
    except ImportError:
        return []
    path = Path(get_dir()) / "checkpoints" / INCEPTION
    absent = "not here (torch-fidelity downloads the file, or give --feature-weights PATH)"
    click.echo(f"{'inception':15s} {path.name}: {'found' if path.exists() else absent}")
    return []
