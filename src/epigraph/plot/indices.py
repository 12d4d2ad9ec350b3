"""The index of each critical point against its value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from epigraph.plot.numbers import counted
from epigraph.plot.placing import Box
from epigraph.plot.scale import Scale, ticks
from epigraph.plot.svg import Format, along, number, picture, stroke, upright

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue

WIDE = Format(width=720, height=330, left=74, right=24, top=30, bottom=50, text=15, ticks=6)
NARROW = Format(width=360, height=300, left=48, right=16, top=28, bottom=46, text=13, ticks=3)


@final
@dataclass(frozen=True)
class Info:
    """(J, index, decided) of each point; undecided ones have at least that index."""

    points: tuple[tuple[float, int, bool], ...]
    low: float
    high: float
    top: int


def info(found: Catalogue) -> Info | None:
    """What to draw; None where there are no points."""
    points = tuple((p.value, p.index, p.evidence != "undecided" and p.nullity == p.predicted) for p in found.points)
    if not points:
        return None
    low, high = min(p[0] for p in points), max(p[0] for p in points)
    room = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    return Info(points, low - room, high + room, max(p[1] for p in points))


def describe(info: Info) -> tuple[str, str]:
    """Title and description, for those who hear the picture."""
    counts = sorted(Counter(index for _, index, _ in info.points).items())
    return "Index and value", "; ".join(f"index {k}: {counted(n, 'point')}" for k, n in counts)


def draw(info: Info, identifier: str, shape: Format = WIDE) -> str:
    """The picture as one ``<svg>`` element."""
    frame = Box(shape.left, shape.top, shape.width - shape.right, shape.height - shape.bottom)
    across = Scale(info.low, info.high, frame.left, frame.right)
    up = Scale(-0.5, info.top + 0.5, frame.bottom, frame.top)
    step = max(1, -(-info.top // shape.ticks))
    whole = [float(k) for k in range(0, info.top + 1, step)]
    body = upright(whole, "index", frame, shape, up) + along(
        [t for t in ticks(info.low, info.high, shape.ticks)], "J", frame, shape, across
    )
    body += [stroke((frame.left, up(k)), (frame.right, up(k)), "epi-grid") for k in whole]
    for value, index, decided in info.points:
        css = ("epi-dot" if index else "epi-mark") if decided else "epi-loop"
        body.append(f'<circle class="{css}" cx="{number(across(value))}" cy="{number(up(index))}" r="4.5"/>')
    return picture(identifier, *describe(info), shape, body)
