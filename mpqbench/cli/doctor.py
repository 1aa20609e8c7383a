"""``mpqbench doctor``: versions, devices, assets, and how to get what is missing."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

import click

REQUIRED = ("torch", "torchvision", "diffusers", "torch-fidelity", "numpy", "scipy", "pydantic",
            "pandas", "matplotlib", "safetensors", "rich", "click")  # fmt: skip
OPTIONAL = {"clean-fid": "pip install 'mpqbench[clean-fid]'"}
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


@click.command("doctor")
def doctor() -> None:
    """Tell versions, devices, the assets' digests, what is missing and how to get it.

    Exit code 1 where something that mpqbench needs is missing or damaged.
    """
    problems = [*_versions(), *_devices(), *_assets(), *_weights(), *_plugins()]
    click.echo("all is well" if not problems else f"{len(problems)} problem(s):")
    for problem in problems:
        click.echo(f"  {problem}")
    if problems:
        sys.exit(1)


def _versions() -> list[str]:
    problems = []
    click.echo(f"python          {platform.python_version()}")
    for name in ("mpqbench", *REQUIRED, *OPTIONAL):
        try:
            click.echo(f"{name:15s} {version(name)}")
        except PackageNotFoundError:
            if name in OPTIONAL:
                click.echo(f"{name:15s} not installed (optional: {OPTIONAL[name]})")
            else:
                click.echo(f"{name:15s} missing")
                problems.append(f"{name} is missing: pip install {name}")
    return problems


def _devices() -> list[str]:
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:
        return [f"torch and torchvision do not load together: {error}; install both at once"]
    click.echo(f"device          cpu, {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        click.echo(f"device          cuda:{index} {facts.name}, {facts.total_memory / 1e9:.0f} GB")
    return []


def _assets() -> list[str]:
    folder = Path(str(files("mpqbench.assets")))
    manifest = folder / "manifest.json"
    if not manifest.exists():
        return [f"{manifest} is missing: install mpqbench again, or run tools/train_embedded.py"]
    problems = []
    for name, digest in json.loads(manifest.read_text())["sha256"].items():
        path = folder / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
        click.echo(f"asset           {name} {found[:16]}")
        if found != digest:
            problems.append(f"asset {name} is not the one that was shipped: install mpqbench again")
    return problems


def _weights() -> list[str]:
    """Inception is optional: the embedded model does not need it."""
    try:
        from torch.hub import get_dir
    except ImportError:
        return []
    path = Path(get_dir()) / "checkpoints" / INCEPTION
    absent = "not here (torch-fidelity fetches it, or --feature-weights PATH)"
    state = "found" if path.exists() else absent
    click.echo(f"inception       {path.name}: {state}")
    return []


def _plugins() -> list[str]:
    from ..core.registry import discover

    registry = discover()
    return [f"{origin} is broken: {reason}" for origin, reason in registry.broken.items()]
