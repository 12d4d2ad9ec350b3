"""The picture of a spectrum as SVG: bars on a logarithmic axis, and the same on a linear one under it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import final

from epigraph.plot.numbers import superscripted
from epigraph.plot.placing import Box, Label
from epigraph.plot.scale import Scale, tick_labels, ticks
from epigraph.plot.spectrum import Info
from epigraph.plot.svg import Format, lettering, number, stroke

WIDE = Format(width=720, height=430, left=74, right=22, top=30, bottom=46, text=15, ticks=6)
NARROW = Format(width=360, height=400, left=54, right=12, top=28, bottom=42, text=13, ticks=3)


@final
@dataclass(frozen=True)
class _Height:
    """A height's place on an axis: linear, or logarithmic from a floor."""

    scale: Scale
    logarithmic: bool

    def __call__(self, share: float) -> float:
        if not self.logarithmic:
            return self.scale(share)
        return self.scale(max(math.log10(max(share, 1e-300)), self.scale.low))


def _heights(info: Info, frame: Box, logarithmic: bool) -> tuple[_Height, list[tuple[float, str]]]:
    """The vertical axis and its ticks."""
    if logarithmic:
        low, high = math.log10(info.floor), math.log10(info.ceiling) + 0.15
        step = max(1, math.ceil((high - low) / 6))
        powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1, step)
        marks = [(10.0**k, "1" if k == 0 else superscripted(f"1e{k:+03d}")) for k in powers]
        return _Height(Scale(low, high, frame.bottom, frame.top), True), marks
    values = ticks(0.0, info.ceiling * 1.08, 3)
    marks = list(zip(values, tick_labels(values), strict=True))
    return _Height(Scale(0.0, info.ceiling * 1.08, frame.bottom, frame.top), False), marks


def _bars(info: Info, frame: Box, across: Scale, up: _Height) -> list[str]:
    """Bars with their standard errors; those of negative curvature have a class of their own."""
    out = []
    for bar in info.bars:
        top = up(bar.share)
        if bar.share <= 0 or frame.bottom - top < 0.3:
            continue
        left, right = across(bar.left), across(bar.right)
        css = "epi-bar epi-bar-down" if bar.right <= 0 else "epi-bar"
        size = f'width="{number(max(right - left - 0.8, 0.6))}" height="{number(frame.bottom - top)}"'
        out.append(f'<rect class="{css}" x="{number(left)}" y="{number(top)}" {size}/>')
        if 0 < bar.error < math.inf:
            middle, high, low = (left + right) / 2, up(bar.share + bar.error), up(max(bar.share - bar.error, 0.0))
            if low - high > 2:
                out.append(stroke((middle, high), (middle, min(low, frame.bottom)), "epi-whisker"))
    return out


def _frame(info: Info, frame: Box, shape: Format, across: Scale, logarithmic: bool, feet: bool) -> list[str]:
    up, marks = _heights(info, frame, logarithmic)
    out = _bars(info, frame, across, up)
    out.append(stroke((frame.left, frame.top), (frame.left, frame.bottom), "epi-axis"))
    out.append(stroke((frame.left, frame.bottom), (frame.right, frame.bottom), "epi-axis"))
    for value, label in marks:
        out.append(stroke((frame.left - 5, up(value)), (frame.left, up(value)), "epi-axis"))
        out.append(lettering(Label(label, frame.left - 9, up(value) + 0.35 * shape.text, "end"), "epi-tick"))
    name = "share of eigenvalues" + (", logarithmic" if logarithmic else ", linear")
    out.append(lettering(Label(name, frame.left - 4, frame.top - 0.7 * shape.text, "start"), "epi-name"))
    if info.low < 0 < info.high:
        out.append(stroke((across(0), frame.top), (across(0), frame.bottom), "epi-zero"))
    if logarithmic:
        height = up(1 / info.n)
        out += [f'<circle class="epi-mark" cx="{number(across(x))}" cy="{number(height)}" r="4"/>' for x in info.marks]
    if feet:
        values = tuple(t for t in ticks(info.low, info.high, shape.ticks))
        for value, label in zip(values, tick_labels(values), strict=True):
            out.append(stroke((across(value), frame.bottom), (across(value), frame.bottom + 5), "epi-axis"))
            out.append(lettering(Label(label, across(value), frame.bottom + 1.4 * shape.text, "middle"), "epi-tick"))
        middle = Label("eigenvalue", frame.right, frame.bottom + 2.7 * shape.text, "end")
        out.append(lettering(middle, "epi-name"))
    return out


def describe(info: Info) -> tuple[str, str]:
    """Title and description, for those who hear the picture."""
    down = sum(b.share for b in info.bars if b.right <= 0)
    ends = f"from {info.marks[0]:.4g} to {info.marks[-1]:.4g}" if info.marks else "without single eigenvalues"
    share = f" About {down:.2g} of the eigenvalues lie in bins below zero." if info.bars else ""
    return f"Spectrum of the {info.kind} matrix of {info.n} rows", f"Single eigenvalues {ends}.{share}"


def draw(info: Info, identifier: str, shape: Format = WIDE) -> str:
    """The picture as one ``<svg>`` element: logarithmic above, linear below where there is a density."""
    title, description = describe(info)
    across = Scale(info.low, info.high, shape.left, shape.width - shape.right)
    split = shape.height * (0.6 if info.bars else 1.0)
    upper = Box(shape.left, shape.top, shape.width - shape.right, split - (16 if info.bars else shape.bottom))
    body = _frame(info, upper, shape, across, True, not info.bars)
    if info.bars:
        lower = Box(shape.left, split + shape.top, upper.right, shape.height - shape.bottom)
        body += _frame(info, lower, shape, across, False, True)
    size = f"{number(shape.width)} {number(shape.height)}"
    return (
        f'<svg class="epi-svg" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" '
        f'aria-labelledby="{identifier}-t {identifier}-d" font-size="{number(shape.text)}">'
        f'<title id="{identifier}-t">{escape(title)}</title><desc id="{identifier}-d">{escape(description)}</desc>'
        + "".join(body)
        + "</svg>"
    )
