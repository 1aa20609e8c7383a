"""Shows how long an error of quantization keeps its direction along a sampling trajectory.

Run from the root of the repository; writes docs/persistence.md in about a minute:

    python -m tools.persistence
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

from mpqbench.contracts import LayerData
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.core.recipe import PROTOCOLS, PluginChoice, Protocol
from mpqbench.core.registry import discover
from mpqbench.dit.calibration import CalibrationSet
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.dit.held_out import evaluate
from mpqbench.dit.loading import DiTModel, load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.build import GroupQuantizer

PRECISIONS = ("W2A16", "W3A16", "W4A16", "W16A3", "W16A4", "W3A3", "W2A4")
LATER = (1, 2, 5)  # steps
COUNT, SEED, BATCH = 64, 100, 64
HEADER = """# How long an error keeps its direction

Produced by `python -m tools.persistence`. The error of a quantized `fashion-dit` (what it answers
less what full precision answers) at all 20 inputs of {count} full-precision trajectories, with the
class, without guidance; seed {seed}. Weights are rounded to nearest with a scale for each row,
activations with one for each token; A16 and W16 are not quantized, adaLN is at W8A8. Correlation:
cosine of an image's error with that of the same image some steps later, mean over steps and images;
± is the half width of the 95 % interval over images.

The error of weights is much the same from step to step, that of activations far less so. What keeps
its direction adds up along a trajectory, what changes it partly cancels; a squared error of single
forwards counts both alike.

| precision | squared error | {heads} |
|---|---:{rules}|
"""


def trajectories(model: DiTModel, protocol: Protocol) -> CalibrationSet:
    """All inputs of ``COUNT`` full-precision samplings, step by step: (steps x COUNT) rows."""
    latents, times, classes = [], [], []

    def keep(_first: int, _step: int, x: torch.Tensor, time: int, y: torch.Tensor) -> None:
        latents.append(x.float().cpu())
        times.append(torch.full((len(x),), time))
        classes.append(y.cpu())

    for _ in Sampler(model, protocol, SEED, "cpu").batches(0, COUNT, observe=keep):
        pass
    return CalibrationSet(torch.cat(latents), torch.cat(times), torch.cat(classes))


def errors(model: DiTModel, precision: Precision, inputs: CalibrationSet) -> np.ndarray:
    """What quantizing to nearest adds to the outputs that the sampler reads: (steps, COUNT, n)."""
    registry, groups = discover(), layer_groups(model.transformer)
    full = evaluate(model.transformer, inputs, BATCH, "cpu")
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
        given = evaluate(model.transformer, inputs, BATCH, "cpu")
    read = (given - full)[:, : inputs.latents.shape[1]]
    return read.double().numpy().reshape(-1, COUNT, read[0].numel())


def persistence(error: np.ndarray, later: int) -> tuple[float, float]:
    """Mean cosine of errors (steps, images, n) with those ``later`` steps on, and its half width.

    An image counts once, with its mean over steps: images are independent, steps are not.
    """
    unit = error / np.linalg.norm(error, axis=-1, keepdims=True)
    own = (unit[:-later] * unit[later:]).sum(-1).mean(0)
    return float(own.mean()), float(1.96 * own.std(ddof=1) / len(own) ** 0.5)


@click.command(help=__doc__)
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def main(docs: Path) -> None:
    protocol = PROTOCOLS["quick"].model_copy(update={"micro_batch": COUNT})
    model = load_model("fashion-dit")
    inputs = trajectories(model, protocol)
    heads = [f"{n} step{'s' if n > 1 else ''} later" for n in LATER]
    text = HEADER.format(
        count=COUNT, seed=SEED, heads=" | ".join(heads), rules="|---:" * len(LATER)
    )
    for name in PRECISIONS:
        error = errors(model, Precision.parse(name), inputs)
        cells = [f"{np.square(error).mean():.4f}"]
        cells += ["{:.3f} ±{:.3f}".format(*persistence(error, later)) for later in LATER]
        line = f"| {name} | {' | '.join(cells)} |"
        click.echo(line)
        text += line + "\n"
    (docs / "persistence.md").write_text(text)


if __name__ == "__main__":
    main()
