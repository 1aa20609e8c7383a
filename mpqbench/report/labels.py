"""Puts text into a plot where it covers neither data nor other text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels
_STEPS = 24  # boxes that stand for one line segment


@dataclass(frozen=True)
class Anchor:
    """A place for a text: data point, offset in points, and alignment."""

    x: float
    y: float
    dx: float
    dy: float
    ha: str
    va: str


class Placer:
    """Greedy placement on one axes whose limits and size are final.

    Every text takes, of its anchors in the order given, the first that covers least. Our choice:
    no iteration, so that the same data give the same picture.
    """

    def __init__(self, axes: Axes) -> None:
        canvas: Any = axes.figure.canvas  # Agg: only this canvas can measure text
        self.axes = axes
        self.renderer = canvas.get_renderer()
        frame = axes.get_window_extent(self.renderer)
        self.frame: Box = (frame.x0, frame.y0, frame.x1, frame.y1)
        self.taken: list[Box] = []

    def block_points(self, points: Iterable[tuple[float, float]], radius: float = 4.0) -> None:
        """Keeps texts off markers of ``radius`` pixels at data ``points``."""
        for point in points:
            x, y = self._pixels(point)
            self.taken.append((x - radius, y - radius, x + radius, y + radius))

    def block_line(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Keeps texts off the segment between two data points."""
        (x0, y0), (x1, y1) = self._pixels(start), self._pixels(stop)
        for step in range(_STEPS):
            a, b = step / _STEPS, (step + 1) / _STEPS
            xs = sorted((x0 + a * (x1 - x0), x0 + b * (x1 - x0)))
            ys = sorted((y0 + a * (y1 - y0), y0 + b * (y1 - y0)))
            self.taken.append((xs[0] - 1, ys[0] - 1, xs[1] + 1, ys[1] + 1))

    def place(self, text: str, anchors: Sequence[Anchor], **style: Any) -> None:
        """Draws ``text`` at the best anchor."""
        best: tuple[float, Box, Any] | None = None
        for anchor in anchors:
            artist = self.axes.annotate(
                text, (anchor.x, anchor.y), xytext=(anchor.dx, anchor.dy),
                textcoords="offset points", ha=anchor.ha, va=anchor.va, zorder=5, **style,
            )  # fmt: skip
            extent = artist.get_window_extent(self.renderer)
            box = (extent.x0 - 1, extent.y0 - 1, extent.x1 + 1, extent.y1 + 1)
            penalty = self._penalty(box)
            if best is None or penalty < best[0] - 1e-6:
                if best is not None:
                    best[2].remove()
                best = (penalty, box, artist)
            else:
                artist.remove()
            if best[0] == 0:
                break
        if best is not None:
            self.taken.append(best[1])

    def _pixels(self, point: tuple[float, float]) -> tuple[float, float]:
        x, y = self.axes.transData.transform(point)
        return float(x), float(y)

    def _penalty(self, box: Box) -> float:
        """Covered area in square pixels; what lies outside of the axes counts tenfold."""
        area = (box[2] - box[0]) * (box[3] - box[1])
        outside = area - _overlap(box, self.frame)
        return sum(_overlap(box, other) for other in self.taken) + 10 * max(outside, 0.0)


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)
