"""The picture of a barrier: J along the straight line between two points, as they are and after alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, final

from epigraph.plot.numbers import rounded
from epigraph.plot.placing import Box, Label, around, choose, densely
from epigraph.plot.scale import Scale, tick_labels, ticks
from epigraph.plot.svg import Format, lettering, number, stroke

if TYPE_CHECKING:
    from epigraph.symmetry.barrier import Barrier

WIDE = Format(width=720, height=380, left=74, right=26, top=28, bottom=48, text=15, ticks=5)
STYLE = (
    ".epi-curve{fill:none;stroke:#1b1b1b;stroke-width:2}.epi-before{fill:none;stroke:#8a8a8a;stroke-width:2}"
    ".epi-chord{stroke:#8a8a8a;stroke-dasharray:6 4}.epi-axis{stroke:#555}.epi-dot{fill:#b3261e}"
    "text{font-family:system-ui,sans-serif;fill:#1b1b1b}"
)


@final
@dataclass(frozen=True)
class Course:
    """One curve with its name, its style class, and its highest point over the line between its ends."""

    name: str
    css: str
    points: tuple[tuple[float, float], ...]
    top: tuple[float, float]
    height: float


@final
@dataclass(frozen=True)
class Info:
    """What is drawn: the curves and the range of J."""

    courses: tuple[Course, ...]
    low: float
    high: float


def info(barrier: Barrier) -> Info:
    """The numbers to draw; values of J that are not finite are left out."""
    given = [("as they are" if barrier.before is None else "after alignment", "epi-curve", barrier)]
    if barrier.before is not None:
        given.insert(0, ("before alignment", "epi-before", barrier.before))
    courses = []
    for name, css, found in given:
        points = tuple(p for p in found.curve if math.isfinite(p[1]))
        top = (found.at, dict(found.curve).get(found.at, math.nan))
        courses.append(Course(name, css, points, top, found.over_line))
    heights = [y for c in courses for _, y in c.points] or [0.0]
    low, high = min(heights), max(heights)
    margin = 0.08 * (high - low) or 0.5 * abs(high) or 0.5
    return Info(tuple(courses), low - margin, high + margin)


def draw(info: Info, identifier: str = "barrier", shape: Format = WIDE) -> str:
    """The picture as one ``<svg>`` element with its own style."""
    frame = Box(shape.left, shape.top, shape.width - shape.right, shape.height - shape.bottom)
    across = Scale(0.0, 1.0, frame.left, frame.right)
    up = Scale(info.low, info.high, frame.bottom, frame.top)
    body = _axes(info, frame, shape, across, up)
    taken: list[Box] = []
    ink = [p for c in info.courses for p in densely([(across(t), up(y)) for t, y in c.points])]
    for course in info.courses:
        pixels = [(across(t), up(y)) for t, y in course.points]
        joined = " ".join(f"{number(x)},{number(y)}" for x, y in pixels)
        body.append(stroke(pixels[0], pixels[-1], "epi-chord"))
        body.append(f'<polyline class="{course.css}" points="{joined}"/>')
        if not math.isfinite(course.top[1]):
            continue
        summit = (across(course.top[0]), up(course.top[1]))
        body.append(f'<circle class="epi-dot" cx="{number(summit[0])}" cy="{number(summit[1])}" r="4"/>')
        text = f"{course.name}: barrier {rounded(course.height, 3)}"
        label = choose(around(text, summit, shape.text), shape.text, ink, taken, frame)
        taken.append(label.box(shape.text))
        body.append(lettering(label, "epi-label"))
    title, size = "J along the straight line between two points", f"{number(shape.width)} {number(shape.height)}"
    told = "; ".join(f"{c.name}: barrier {rounded(c.height, 6)} at {rounded(c.top[0], 3)}" for c in info.courses)
    return (
        f'<svg class="epi-svg" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" '
        f'aria-labelledby="{identifier}-t {identifier}-d" font-size="{number(shape.text)}">'
        f'<title id="{identifier}-t">{title}</title><desc id="{identifier}-d">{escape(told)}</desc>'
        f"<style>{STYLE}</style>" + "".join(body) + "</svg>"
    )


def _axes(info: Info, frame: Box, shape: Format, across: Scale, up: Scale) -> list[str]:
    corner = (frame.left, frame.bottom)
    out = [stroke((frame.left, frame.top), corner, "epi-axis"), stroke(corner, (frame.right, frame.bottom), "epi-axis")]
    values = ticks(info.low, info.high, shape.ticks)
    for value, text in zip(values, tick_labels(values), strict=True):
        out.append(stroke((frame.left - 5, up(value)), (frame.left, up(value)), "epi-axis"))
        out.append(lettering(Label(text, frame.left - 9, up(value) + 0.35 * shape.text, "end"), "epi-tick"))
    out.append(lettering(Label("J", frame.left, frame.top - 0.8 * shape.text, "middle"), "epi-name"))
    for t, text in ((0.0, "first"), (0.5, "half-way"), (1.0, "second")):
        out.append(stroke((across(t), frame.bottom), (across(t), frame.bottom + 5), "epi-axis"))
        anchor = "start" if t == 0 else "end" if t == 1 else "middle"
        out.append(lettering(Label(text, across(t), frame.bottom + 1.6 * shape.text, anchor), "epi-name"))
    return out
