"""Measure how long an error of quantization keeps its direction along a sampling trajectory.

Run from the root of the repository; writes persistence.csv into leaderboards/persistence in some
minutes:

    python -m tools.persistence

The page is made from that file by ``mpqbench report leaderboards --pages docs/results``.
"""

from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch

from mpqbench.contracts import LayerData
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.core.protocol import PROTOCOLS, Protocol
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover
from mpqbench.dit.calibration import CalibrationSet, evaluate
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.dit.loading import DiTModel, load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.build import GroupQuantizer

PRECISIONS = ("W2A16", "W3A16", "W4A16", "W16A3", "W16A4", "W3A3", "W2A4")
LATER = (1, 2, 5)  # steps
COUNT, SEED, BATCH = 64, 100, 64
FOLDER = Path("leaderboards/persistence")


def trajectories(model: DiTModel, protocol: Protocol) -> CalibrationSet:
    """Return the inputs of ``COUNT`` full-precision samplings by step: (steps x COUNT) rows."""
    latents, times, classes = [], [], []

    def keep(_first: int, _step: int, x: torch.Tensor, time: int, y: torch.Tensor) -> None:
        latents.append(x.float().cpu())
        times.append(torch.full((len(x),), time))
        classes.append(y.cpu())

    for _ in Sampler(model, protocol, SEED, "cpu").batches(0, COUNT, observe=keep):
        pass
    return CalibrationSet(torch.cat(latents), torch.cat(times), torch.cat(classes))


def errors(model: DiTModel, precision: Precision, inputs: CalibrationSet) -> np.ndarray:
    """Return what rounding to nearest adds to the predicted noise: (steps, COUNT, n)."""
    registry, groups = discover(), layer_groups(model.transformer)
    full = evaluate(model.transformer, inputs, BATCH)
    with quantize_model(
        model.transformer,
        groups,
        uniform_allocation(groups, precision, Precision(8, 8)),
        GroupQuantizer(
            registry.create("transform", PluginChoice(name="none")),
            registry.create("rounding", PluginChoice(name="nearest")),
            WeightFormat(),
            ActivationFormat(),
            lambda path: LayerData(path, 0, 0),
        ),
    ):
        given = evaluate(model.transformer, inputs, BATCH)
    read = (given - full)[:, : inputs.latents.shape[1]]
    return read.double().numpy().reshape(-1, COUNT, read[0].numel())


def persistence(error: np.ndarray, later: int) -> tuple[float, float]:
    """Return the mean cosine of errors (steps, images, n) with those ``later`` steps on.

    Also return the half-width of its 95 % interval. An image counts once, with its mean over steps:
    images are independent, steps are not.
    """
    unit = error / np.linalg.norm(error, axis=-1, keepdims=True)
    own = (unit[:-later] * unit[later:]).sum(-1).mean(0)
    return float(own.mean()), float(1.96 * own.std(ddof=1) / len(own) ** 0.5)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(out: Path) -> None:
    protocol = PROTOCOLS["quick"].model_copy(update={"micro_batch": COUNT})
    model = load_model("fashion-dit")
    inputs = trajectories(model, protocol)
    rows = []
    for name in PRECISIONS:
        error = errors(model, Precision.parse(name), inputs)
        for later in LATER:
            correlation, half_width = persistence(error, later)
            rows.append(
                {
                    "precision": name,
                    "squared_error": np.square(error).mean(),
                    "later": later,
                    "correlation": correlation,
                    "half_width": half_width,
                }
            )
            click.echo(rows[-1])
    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(out / "persistence.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
