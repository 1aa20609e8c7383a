"""Where and with what a job ran: found out as far as possible, ``None`` where it was not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from .schema import Provenance

_PACKAGE = Path(__file__).resolve().parents[1]


def collect(started: datetime) -> Provenance:
    """Provenance of a job that began at ``started`` (with a time zone) and ends now.

    ``gpu`` and ``threads`` are those of torch and known only where the job has imported it.
    """
    return Provenance(
        mpqbench=__version__,
        python=platform.python_version(),
        torch=_version("torch"),
        diffusers=_version("diffusers"),
        numpy=_version("numpy"),
        torch_fidelity=_version("torch-fidelity"),
        git=git_commit(_PACKAGE),
        platform=platform.platform(),
        cpu=_cpu(Path("/proc/cpuinfo")),
        cores=_cores(),
        ram_gb=_ram_gb(),
        gpu=_gpu(),
        threads=_threads(),
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def git_commit(package: Path) -> str | None:
    """Commit that tracks ``package``, ``-dirty`` appended where tracked files have changes.

    ``None`` outside a work tree, without git, and where the work tree merely surrounds the
    package (a virtual environment inside someone's repository) without tracking it.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--untracked-files=no")
    if not commit or changes is None:
        return None
    return f"{commit}-dirty" if changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=10, check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # reading must not touch the index
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu(info: Path) -> str | None:
    try:
        lines = info.read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _ram_gb() -> float | None:
    try:
        import psutil
    except ImportError:
        return None
    return round(psutil.virtual_memory().total / 1e9, 1)


def _gpu() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())
