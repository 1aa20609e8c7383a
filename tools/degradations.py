"""Shows that FD on the embedded features orders obvious degradations as a person would.

Run from the root of the repository; writes docs/degradations.md and docs/figures/degradations.png:

    python -m tools.degradations
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from scipy.ndimage import gaussian_filter

from mpqbench.core.protocol import PROTOCOLS
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler
from mpqbench.metrics.extractors import load_extractor
from mpqbench.metrics.features import FeatureNetwork
from mpqbench.metrics.images import open_images
from mpqbench.metrics.reference import Reference, load_reference
from mpqbench.metrics.score import Score, score

from .embedded.data import DEBIAN_FOLDER, load_split

COUNT = 1000
HEADER = """# FD on the embedded features orders what a person would order

Produced by `python -m tools.degradations`. Distances of {count} images to the reference over the
60,000 training images; ± is the half width of the 95% jackknife interval. Blur, noise and missing
classes are put on real test images, fewer steps on the samples of `fashion-dit` (seed 0). Each
family grows worse downwards, and FD grows with it.

| degradation | FD | sFD | KID x 1000 |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Case:
    """One set of degraded images, uint8 (n, 32, 32, 1), in a family ordered from good to bad."""

    family: str
    level: str
    images: np.ndarray
    classes: np.ndarray


def real_cases(images: np.ndarray, labels: np.ndarray) -> Iterator[Case]:
    """Blur, noise and missing classes on real images."""
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
    """Fewer and fewer sampling steps with the embedded model."""
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


def judge(case: Case, network: FeatureNetwork, reference: Reference) -> dict[str, Score]:
    """Scores of one case."""
    return score(network.extract(open_images(case.images)), reference, case.classes)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=DEBIAN_FOLDER, show_default=True)
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def main(data: Path, docs: Path) -> None:
    images, labels = load_split(data, "t10k")
    chosen = slice(0, COUNT)
    real = images[chosen].permute(0, 2, 3, 1).contiguous().numpy()
    cases = [*real_cases(real, labels[chosen].numpy()), *sampled_cases(click.echo)]
    network = load_extractor("fashion", None)
    reference = load_reference("embedded", network)
    lines, values = [], {}
    for case in cases:
        scores = judge(case, network, reference)
        values[case.family, case.level] = scores["fd"].value
        fd, sfd, kid = (scores[key] for key in ("fd", "sfd", "kid"))
        name = f"{case.family}: {case.level}" if case.level else case.family
        line = (
            f"| {name} | {fd.value:.2f} ± {fd.ci:.2f} | {sfd.value:.2f} | {1000 * kid.value:.2f} |"
        )
        click.echo(line)
        lines.append(line)
    _check_order(values)
    text = HEADER.format(count=COUNT) + "\n".join(lines)
    caption = "the same ten images under every degradation, one row each"
    figure = f"\n\n![{caption}](figures/degradations.png)\n"
    (docs / "degradations.md").write_text(text + figure)
    _draw(cases, docs / "figures" / "degradations.png")


def _check_order(values: dict[tuple[str, str], float]) -> None:
    families: dict[str, list[float]] = {}
    for (family, _), value in values.items():
        families.setdefault(family, []).append(value)
    for family, row in families.items():
        if row != sorted(row):
            raise click.ClickException(f"FD does not order '{family}': {row}")


def _draw(cases: list[Case], path: Path) -> None:
    """The first ten images of every case, one row each, labelled."""
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
