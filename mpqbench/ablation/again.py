"""The tables and figures of an ablation from its records, without running anything."""

from __future__ import annotations

from pathlib import Path

from ..registry import Registry
from .design import Design
from .run import read_batches, write_plan
from .sweeps import cells_of, write_sweeps


def write_again(design: Design, folder: Path, registry: Registry, out: Path) -> list[Path]:
    """Writes into ``out`` what the ablation wrote into ``folder``, from all records that are there:
    those of seeds and budgets that were asked for apart, or copied together, are in one table.

    Returns the paths. Raises BenchError where there are no records, and for plugins that are none.
    """
    if design.sweeps:
        sweeps = design.swept(registry)
        return write_sweeps(sweeps, read_batches(cells_of(sweeps), folder), out)
    plan = design.plan(registry)
    return write_plan(plan, read_batches(plan.cells, folder), out, design.scale)
