"""Where and with what a job ran: found out as far as possible, ``None`` where it was not."""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from .. import __version__
from ..core.sources import harness_digest
from .environment import processor_name
from .schema import Provenance

_PACKAGE = Path(__file__).resolve().parents[1]


def collect(started: datetime, device: str = "cpu") -> Provenance:
    """Return the provenance of a job on ``device`` from ``started`` (with a time zone) until now.

    ``gpu``, ``threads`` and the vector instructions are those of torch and known only if the job
    has imported torch.
    """
    torch = sys.modules.get("torch")
    has_gpu = torch is not None and torch.cuda.is_available()
    is_gpu = has_gpu and device.startswith("cuda")
    return Provenance(
        mpqbench=__version__,
        python=platform.python_version(),
        git=git_commit(_PACKAGE),
        platform=platform.platform(),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        ram_gb=round(psutil.virtual_memory().total / 1e9, 1),
        gpu=str(torch.cuda.get_device_name()) if torch and has_gpu else None,
        threads=int(torch.get_num_threads()) if torch else None,
        processor=_processor(torch),
        device=str(torch.cuda.get_device_name(device)) if torch and is_gpu else device,
        harness=harness_digest(),
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: version(name) for name in ("torch", "diffusers", "numpy", "torch_fidelity")},
    )


def git_commit(package: Path) -> str | None:
    """Return the commit that tracks ``package``, with ``-dirty`` where tracked files have changes.

    ``None`` outside a work tree, without git, and where the work tree merely surrounds the
    package (a virtual environment inside someone's repository) without tracking it.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # reading must not touch the index
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


def _processor(torch: Any) -> str | None:
    """Return name, family and model of the processor, and the vector instructions torch uses."""
    numbers = [number for key in ("cpu family", "model") if (number := _cpuinfo(key))]
    vectors = torch.backends.cpu.get_cpu_capability() if torch else None
    parts = (processor_name(_cpu()), "/".join(numbers), vectors)
    return " ".join(part for part in parts if part) or None


def _cpu() -> str | None:
    return _cpuinfo("model name") or platform.processor() or None


def _cpuinfo(key: str) -> str | None:
    """Return a value of Linux' list of processors."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.M)
    return found[1] if found else None
