"""A training loop that resumes to the same result wherever it was stopped."""

import csv
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

SAVE_EVERY_SECONDS = 90
LOG_EVERY_STEPS = 50


def step_generator(seed: int, stage: str, step: int) -> torch.Generator:
    """Return the generator of one step, which depends only on (seed, stage, step)."""
    digest = hashlib.sha256(f"{seed}/{stage}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def warm_then_decay(step: int, steps: int, warmup: int = 200, decay: float = 0.25) -> float:
    """Return the learning rate's factor: linear warm-up, constant, linear decay at the end."""
    tail = max(1, int(decay * steps))
    return min(1.0, (step + 1) / warmup, max(0.0, (steps - step) / tail))


@dataclass(frozen=True)
class TrainingRun:
    """What a stage is called, where its checkpoints go, how long, how fast and where it trains.

    ``bfloat16`` computes matrix products and convolutions in that type; weights stay float32.
    """

    name: str
    folder: Path
    steps: int
    rate: float
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False


@dataclass
class Stage:
    """One network to train: ``losses(generator)`` gives named losses, ``total`` among them.

    The generator is one of the CPU on every device, so that the same batches are drawn everywhere.
    """

    training: TrainingRun
    trained: nn.Module
    losses: Callable[[torch.Generator], dict[str, torch.Tensor]]
    ema_decay: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    ema: dict[str, torch.Tensor] = field(default_factory=dict)

    def run(self) -> None:
        """Train to the end, from the checkpoint in the folder where there is one."""
        name, folder, rate = self.training.name, self.training.folder, self.training.rate
        device = torch.device(self.training.device).type
        parameters = [p for p in self.trained.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, rate, self.betas, weight_decay=self.weight_decay, fused=True
        )
        checkpoint, log = folder / f"{name}.pt", folder / f"{name}.csv"
        start, spent = self._resume(checkpoint, optimizer)
        saved = began = time.monotonic()
        self.trained.train()
        try:
            for step in range(start, self.training.steps):
                for group in optimizer.param_groups:
                    group["lr"] = rate * warm_then_decay(step, self.training.steps)
                generator = step_generator(self.training.seed, name, step)
                with torch.autocast(device, torch.bfloat16, enabled=self.training.bfloat16):
                    losses = self.losses(generator)
                optimizer.zero_grad(set_to_none=True)
                losses["total"].backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                self._update_ema(step)
                start = step + 1
                now = time.monotonic()
                if start % LOG_EVERY_STEPS == 0:
                    self._log(log, start, spent + now - began, losses)
                if now - saved > SAVE_EVERY_SECONDS:
                    self._save(checkpoint, optimizer, start, spent + now - began)
                    saved = now
        finally:
            self._save(checkpoint, optimizer, start, spent + time.monotonic() - began)
        self.trained.eval()

    def use_ema(self) -> None:
        """Load the averaged weights into the trained module."""
        self.trained.load_state_dict(self.ema)

    def _update_ema(self, step: int) -> None:
        """Average with a decay that grows to ``ema_decay``, so that the first weights fade."""
        if not self.ema_decay:
            return
        decay = min(self.ema_decay, (1 + step) / (10 + step))
        state = self.trained.state_dict()
        if not self.ema:
            self.ema = {name: value.clone() for name, value in state.items()}
        names = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.ema[name] for name in names], [state[name] for name in names], 1.0 - decay
        )

    def _resume(self, checkpoint: Path, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
        if not checkpoint.exists():
            return 0, 0.0
        state = torch.load(checkpoint, weights_only=True, map_location=self.training.device)
        self.trained.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        self.ema = state["ema"]
        print(f"{self.training.name}: resumed at step {state['step']}", flush=True)
        return state["step"], state["seconds"]

    def _save(self, path: Path, optimizer: torch.optim.Optimizer, step: int, secs: float) -> None:
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "model": self.trained.state_dict(),
                "optimizer": optimizer.state_dict(),
                "ema": self.ema,
                "step": step,
                "seconds": secs,
            },
            partial,
        )
        os.replace(partial, path)

    def _log(self, path: Path, step: int, seconds: float, losses: dict[str, torch.Tensor]) -> None:
        values = {name: round(float(value.detach()), 5) for name, value in losses.items()}
        fresh = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            if fresh:
                writer.writerow(["step", "seconds", *values])
            writer.writerow([step, round(seconds, 1), *values.values()])
        shown = " ".join(f"{name} {value}" for name, value in values.items())
        print(
            f"{self.training.name} {step}/{self.training.steps} {seconds:.0f}s {shown}", flush=True
        )
