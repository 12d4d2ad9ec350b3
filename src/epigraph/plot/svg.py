"""The segment's picture as SVG: plain elements with classes, coloured by the page's style sheet.

Nothing is computed here but positions; every text is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import final

from epigraph.plot.numbers import superscripted
from epigraph.plot.placing import Box, Label, Pixel, around, choose, densely
from epigraph.plot.scale import Scale, tick_labels, ticks
from epigraph.plot.segment import Panel, Segment


@final
@dataclass(frozen=True)
class Format:
    """Sizes in pixels of the drawing's own coordinates."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    text: float
    ticks: int


WIDE = Format(width=720, height=380, left=74, right=26, top=28, bottom=44, text=15, ticks=5)
NARROW = Format(width=360, height=290, left=54, right=14, top=28, bottom=40, text=13, ticks=4)


def number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _path(points: Sequence[Pixel], css: str) -> str:
    joined = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    return f'<polyline class="{css}" points="{joined}"/>'


def stroke(start: Pixel, stop: Pixel, css: str) -> str:
    (x1, y1), (x2, y2) = start, stop
    return f'<line class="{css}" x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"/>'


def lettering(label: Label, css: str) -> str:
    return (
        f'<text class="{css}" x="{number(label.x)}" y="{number(label.y)}" '
        f'text-anchor="{label.anchor}">{escape(label.text)}</text>'
    )


def _axes(panel: Panel, frame: Box, shape: Format, across: Scale, up: Scale, ends: bool) -> list[str]:
    """The vertical axis with its ticks, and a, m, b under the horizontal one."""
    values = tuple(t for t in ticks(*panel.extent, shape.ticks) if panel.extent[0] <= t <= panel.extent[1])
    out = [stroke((frame.left, up(values[0])), (frame.left, up(values[-1])), "epi-axis")] if len(values) > 1 else []
    for value, text in zip(values, tick_labels(values), strict=True):
        out.append(stroke((frame.left - 5, up(value)), (frame.left, up(value)), "epi-axis"))
        out.append(lettering(Label(text, frame.left - 9, up(value) + 0.35 * shape.text, "end"), "epi-tick"))
    top = up(values[-1]) if values else frame.top
    name = Label(panel.axis, frame.left, top - 0.8 * shape.text, "middle" if len(panel.axis) < 3 else "start")
    out.append(lettering(name, "epi-name"))
    out.append(stroke((across(-1), frame.bottom), (across(1), frame.bottom), "epi-axis"))
    for s, text in ((-1.0, "a"), (0.0, "m = (a + b)/2"), (1.0, "b")) if ends else ():
        out.append(stroke((across(s), frame.bottom), (across(s), frame.bottom + 5), "epi-axis"))
        out.append(lettering(Label(text, across(s), frame.bottom + 1.6 * shape.text, "middle"), "epi-name"))
    return out


def _marks(panel: Panel, across: Scale, up: Scale) -> list[str]:
    """Line, curve, gap and points, in this order from back to front."""
    line = [(across(s), up(y)) for s, y in panel.line]
    out = [_path(line, "epi-chord")]
    out += [_path([(across(s), up(y)) for s, y in piece], "epi-curve") for piece in panel.curves]
    x, foot, tip = across(0), up(panel.foot), up(panel.tip)
    out.append(stroke((x, foot), (x, tip), "epi-gap"))
    out.append(stroke((x - 6, foot), (x + 6, foot), "epi-gap"))
    for name, (s, y) in panel.points.items():
        css = "epi-dot epi-dot-m" if name == "m" else "epi-dot"
        out.append(f'<circle class="{css}" cx="{number(across(s))}" cy="{number(up(y))}" r="4"/>')
    return out


def _labels(panel: Panel, gap: str | None, frame: Box, shape: Format, across: Scale, up: Scale) -> list[str]:
    """The gap's label first, then the points', then the line's name, each where it covers least."""
    curves = [[(across(s), up(y)) for s, y in piece] for piece in panel.curves]
    line = [(across(s), up(y)) for s, y in panel.line]
    ink = [p for piece in curves for p in densely(piece)] + densely(line)
    ink += densely([(across(0), up(panel.foot)), (across(0), up(panel.tip))])
    taken: list[Box] = []
    out: list[str] = []
    room = Box(frame.left, frame.top - 26, shape.width - 4, frame.bottom)

    def put(candidates: list[Label], css: str) -> None:
        label = choose(candidates, shape.text, ink, taken, room)
        taken.append(label.box(shape.text))
        out.append(lettering(label, css))

    if gap is not None:
        put(_beside_gap(f"gap ≥ {superscripted(gap)}", panel, across, up, shape.text), "epi-label epi-label-gap")
    for name in panel.points:
        s, y = panel.points[name]
        put(around(f"J({name})", (across(s), up(y)), shape.text), "epi-label")
    if panel.line_name != "0":
        along = [point for share in (0.3, 0.7, 0.2, 0.8, 0.15, 0.85) for point in [_between(line, share)]]
        put([label for p in along for label in around(panel.line_name, p, shape.text)[:6]], "epi-label epi-label-chord")
    return out


def _between(line: Sequence[Pixel], share: float) -> Pixel:
    (x0, y0), (x1, y1) = line
    return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


def _beside_gap(text: str, panel: Panel, across: Scale, up: Scale, size: float) -> list[Label]:
    x, foot, tip = across(0), up(panel.foot), up(panel.tip)
    middle, outward = (foot + tip) / 2 + 0.35 * size, -1 if tip < foot else 1
    beyond = tip + outward * (1.2 * size if outward < 0 else 1.9 * size)
    return [
        Label(text, x + 10, middle, "start"),
        Label(text, x - 10, middle, "end"),
        Label(text, x, beyond, "middle"),
        Label(text, x + 14, foot - outward * 1.4 * size, "start"),
        Label(text, x - 14, foot - outward * 1.4 * size, "end"),
    ]


def _panel(panel: Panel, gap: str | None, shape: Format, top: float, height: float, ends: bool) -> list[str]:
    frame = Box(shape.left, top + shape.top, shape.width - shape.right, top + height - (shape.bottom if ends else 12))
    inset = 3 * shape.text
    across = Scale(-1, 1, frame.left + inset, frame.right - inset)
    up = Scale(*panel.extent, frame.bottom, frame.top)
    return [
        *_axes(panel, frame, shape, across, up, ends),
        *_marks(panel, across, up),
        *_labels(panel, gap, frame, shape, across, up),
    ]


def describe(segment: Segment) -> tuple[str, str]:
    """Title and description, for those who hear the picture."""
    points = segment.panel.points
    values = ", ".join(f"J({name}) = {points[name][1]:.6g}" for name in ("a", "m", "b"))
    title = f"J along the segment from a to b, a counterexample: J is not {segment.kind}"
    relation = "above" if segment.kind in ("convex", "quasiconvex") else "below"
    line = "the chord" if segment.panel.line_name == "chord" else f"the level {segment.panel.line_name}"
    return title, f"{values}. At the midpoint m, J lies {relation} {line} by at least {segment.gap}."


def draw(segment: Segment, identifier: str, shape: Format = WIDE) -> str:
    """The picture as one ``<svg>`` element; ``identifier`` makes the ids of its title and description unique."""
    title, description = describe(segment)
    both = segment.magnified is not None
    height = shape.height * (1.55 if both else 1)
    upper = height - shape.height * 0.85 if both else height
    body = _panel(segment.panel, None if both or segment.hidden else segment.gap, shape, 0, upper, ends=not both)
    if segment.magnified is not None:
        body += _panel(segment.magnified, segment.gap, shape, upper, height - upper, ends=True)
    return picture(identifier, title, description, shape, body, height)


def picture(
    identifier: str, title: str, description: str, shape: Format, body: Sequence[str], height: float | None = None
) -> str:
    """One ``<svg>`` element with its title and description for those who hear it."""
    size = f"{number(shape.width)} {number(shape.height if height is None else height)}"
    return (
        f'<svg class="epi-svg" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" '
        f'aria-labelledby="{identifier}-t {identifier}-d" font-size="{number(shape.text)}">'
        f'<title id="{identifier}-t">{escape(title)}</title><desc id="{identifier}-d">{escape(description)}</desc>'
        + "".join(body)
        + "</svg>"
    )


def upright(values: Sequence[float], name: str, frame: Box, shape: Format, up: Scale) -> list[str]:
    """A vertical axis on the left of a frame, with its ticks and its name above."""
    out = [stroke((frame.left, frame.top), (frame.left, frame.bottom), "epi-axis")]
    for value, text in zip(values, tick_labels(tuple(values)), strict=True):
        out.append(stroke((frame.left - 5, up(value)), (frame.left, up(value)), "epi-axis"))
        out.append(lettering(Label(text, frame.left - 9, up(value) + 0.35 * shape.text, "end"), "epi-tick"))
    out.append(lettering(Label(name, frame.left, frame.top - 0.8 * shape.text, "middle"), "epi-name"))
    return out


def along(values: Sequence[float], name: str, frame: Box, shape: Format, across: Scale) -> list[str]:
    """A horizontal axis under a frame, with its ticks and its name at the right."""
    out = [stroke((frame.left, frame.bottom), (frame.right, frame.bottom), "epi-axis")]
    for value, text in zip(values, tick_labels(tuple(values)), strict=True):
        out.append(stroke((across(value), frame.bottom), (across(value), frame.bottom + 5), "epi-axis"))
        out.append(lettering(Label(text, across(value), frame.bottom + 1.4 * shape.text, "middle"), "epi-tick"))
    out.append(lettering(Label(name, frame.right, frame.bottom + 2.7 * shape.text, "end"), "epi-name"))
    return out
