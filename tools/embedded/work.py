"""What all stages of a model share: where checkpoints and assets go, seed, steps and device."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import click
import torch

from .loop import TrainingRun

Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class Work:
    """The folder of checkpoints and loss curves, and the options of the command."""

    folder: Path
    assets: Path = Path("mpqbench/assets")
    stages: tuple[str, ...] = ()
    steps: dict[str, int] = field(default_factory=dict)
    transformer_rate: float = 1e-3
    seed: int = 0
    device: str = "cpu"
    compiled: bool = False
    bfloat16: bool = False

    def run(self, stage: str, rate: float, seed: int | None = None) -> TrainingRun:
        """Return the run of a stage with the peak learning rate ``rate``."""
        chosen = self.seed if seed is None else seed
        place = self.device, self.bfloat16
        return TrainingRun(stage, self.folder, self.steps[stage], rate, chosen, *place)

    def load(self, module: Module, stage: str) -> Module:
        """Load the averaged weights of a finished stage, or the last where it has no average.

        Raises ClickException where the stage has no checkpoint.
        """
        checkpoint = self.folder / f"{stage}.pt"
        if not checkpoint.exists():
            raise click.ClickException(f"{checkpoint} is missing: run --stage {stage} first")
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        module.load_state_dict(state["ema"] or state["model"])
        return module.eval()

    def note(self, name: str, value: object) -> None:
        """Keep a fact, such as an accuracy, for the manifest."""
        (self.folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")

    def noted(self, name: str):
        """Return a fact that was kept."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def curves(self) -> dict[str, dict[str, float]]:
        """Return the last line of every stage's loss curve: steps, seconds, losses."""
        curves = {}
        for log in sorted(self.folder.glob("*.csv")):
            with log.open() as stream:
                last = list(csv.DictReader(stream))[-1]
            curves[log.stem] = {key: float(value) for key, value in last.items()}
        return curves
