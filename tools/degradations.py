"""Check that FD on the embedded features orders obvious degradations as a person would.

Run from the root of the repository; writes degradations.csv and figures/degradations.png into
leaderboards/degradations:

    python -m tools.degradations

The page is made from that file by ``mpqbench report leaderboards --pages docs/results``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from mpqbench.core.jackknife import Estimate
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.metrics.features import FeatureNetwork, load_extractor
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import Reference, load_reference
from mpqbench.metrics.score import score

from .embedded.data import DEBIAN_FOLDER, load_split

COUNT = 1000
FOLDER = Path("leaderboards/degradations")


@dataclass(frozen=True)
class Case:
    """One set of degraded images, uint8 (n, 32, 32, 1), in a family ordered from good to bad."""

    family: str
    level: str
    images: np.ndarray
    classes: np.ndarray


def real_cases(images: np.ndarray, labels: np.ndarray) -> Iterator[Case]:
    """Yield real images with blur, with noise and without some classes."""
    yield Case("real test images", "", images, labels)
    for sigma in (0.4, 0.7, 1.0, 1.5):
        blurred = gaussian_filter(images.astype(float), (0, sigma, sigma, 0))
        yield Case("blur", f"sigma {sigma} pixels", _to_bytes(blurred), labels)
    noise = np.random.default_rng(0).standard_normal(images.shape)
    for level in (4, 8, 16, 32):
        noisy = _to_bytes(images + level * noise)
        yield Case("noise", f"sigma {level} grey levels", noisy, labels)
    for missing in (1, 2, 4, 8):
        chosen = np.resize(np.flatnonzero(labels >= missing), len(images))
        name = f"{missing} of 10 classes missing"
        yield Case("wrong classes", name, images[chosen], labels[chosen])


def sampled_cases(say: Callable[[str], None]) -> Iterator[Case]:
    """Yield images of the embedded model with fewer and fewer sampling steps."""
    model = load_model("fashion-dit")
    for steps in (20, 10, 5, 3, 2):
        say(f"sampling with {steps} steps")
        protocol = PROTOCOLS["quick"].model_copy(update={"steps": steps})
        batches = list(Sampler(model, protocol, 0, "cpu").batches(0, COUNT))
        images = np.concatenate([batch.images for batch in batches])
        classes = np.concatenate([batch.classes for batch in batches])
        yield Case("fewer steps", f"{steps} DDIM steps", images, classes)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def evaluate(case: Case, network: FeatureNetwork, reference: Reference) -> dict[str, Estimate]:
    """Return the scores of one case."""
    return score(network.extract(open_images(case.images)), reference, case.classes)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=DEBIAN_FOLDER, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(data: Path, out: Path) -> None:
    images, labels = load_split(data, "t10k")
    chosen = slice(0, COUNT)
    real = images[chosen].permute(0, 2, 3, 1).contiguous().numpy()
    cases = [*real_cases(real, labels[chosen].numpy()), *sampled_cases(click.echo)]
    network = load_extractor("fashion", None)
    reference = load_reference("embedded", network)
    rows = []
    for case in cases:
        scores = evaluate(case, network, reference)
        fd, sfd, kid = (scores[key] for key in ("fd", "sfd", "kid"))
        row = {"fd": fd.value, "fd_ci": fd.ci, "sfd": sfd.value, "kid_e3": 1e3 * kid.value}
        rows.append({"family": case.family, "level": case.level, **row})
        click.echo(rows[-1])
    table = pd.DataFrame(rows)
    _check_order(table)
    out.mkdir(parents=True, exist_ok=True)
    table.round(2).to_csv(out / "degradations.csv", index=False)
    _draw(cases, out / "figures" / "degradations.png")


def _check_order(table: pd.DataFrame) -> None:
    for family, rows in table.groupby("family"):
        if not rows.fd.is_monotonic_increasing:
            raise click.ClickException(f"FD does not order '{family}': {rows.fd.tolist()}")


def _draw(cases: list[Case], path: Path) -> None:
    """Draw the first ten images of every case, one row each, with a label."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.45 * len(cases)))
    path.parent.mkdir(parents=True, exist_ok=True)
    for row, case in enumerate(cases):
        axes = figure.add_axes((0.32, 1 - (row + 1) / len(cases), 0.68, 1 / len(cases)))
        axes.imshow(
            np.concatenate(case.images[:10, :, :, 0], axis=1), cmap="gray", vmin=0, vmax=255
        )
        axes.set_axis_off()
        label = f"{case.family}: {case.level}" if case.level else case.family
        figure.text(0.31, 1 - (row + 0.5) / len(cases), label, ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": ""})


if __name__ == "__main__":
    main()
