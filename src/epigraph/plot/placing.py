"""Where labels go: of several positions, the one that covers least of what is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final

Pixel = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@final
@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, point: Pixel) -> bool:
        """Is the point inside?"""
        return self.left <= point[0] <= self.right and self.top <= point[1] <= self.bottom

    def overlaps(self, other: Box) -> bool:
        """Do the rectangles share a point?"""
        return not (
            self.right < other.left or other.right < self.left or self.bottom < other.top or other.bottom < self.top
        )

    def inside(self, frame: Box) -> bool:
        """Is all of it within the frame?"""
        across = frame.left <= self.left and self.right <= frame.right
        return across and frame.top <= self.top and self.bottom <= frame.bottom


@final
@dataclass(frozen=True)
class Label:
    """Text with its baseline point and anchor."""

    text: str
    x: float
    y: float
    anchor: Anchor

    def box(self, size: float) -> Box:
        """A generous bounding box; proportional fonts average about half an em for each character."""
        width = 0.54 * size * len(self.text)
        left = {"start": self.x, "middle": self.x - width / 2, "end": self.x - width}[self.anchor]
        return Box(left - 2, self.y - 0.8 * size - 2, left + width + 2, self.y + 0.25 * size + 2)


def densely(points: Sequence[Pixel], step: float = 3.0) -> list[Pixel]:
    """The polyline's points, with more of them in between where they are further apart than ``step`` pixels."""
    out: list[Pixel] = list(points[:1])
    for (x0, y0), (x1, y1) in pairwise(points):
        count = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / step))
        out += [(x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count) for k in range(1, count + 1)]
    return out


def choose(candidates: Iterable[Label], size: float, ink: Sequence[Pixel], taken: Sequence[Box], frame: Box) -> Label:
    """The first candidate with the least cost: ink covered, other labels overlapped, parts outside of the frame."""

    def cost(label: Label) -> float:
        box = label.box(size)
        covered = sum(box.covers(point) for point in ink)
        return covered + 200 * sum(box.overlaps(other) for other in taken) + (0 if box.inside(frame) else 1000)

    return min(candidates, key=cost)


def around(text: str, point: Pixel, size: float) -> list[Label]:
    """Eight positions around a point, above first."""
    x, y = point
    reach, rise, drop = 0.6 * size, 0.75 * size, 1.35 * size
    return [
        Label(text, x, y - rise, "middle"),
        Label(text, x, y + drop, "middle"),
        Label(text, x + reach, y - 0.4 * rise, "start"),
        Label(text, x - reach, y - 0.4 * rise, "end"),
        Label(text, x + reach, y + 0.8 * drop, "start"),
        Label(text, x - reach, y + 0.8 * drop, "end"),
        Label(text, x + reach, y - rise - 0.4 * size, "start"),
        Label(text, x - reach, y - rise - 0.4 * size, "end"),
    ]
