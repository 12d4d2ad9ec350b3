"""The disconnectivity graph: each minimum a line down to its value, joined at the level of the saddle between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from epigraph.plot.numbers import counted, rounded
from epigraph.plot.placing import Box, Label, Pixel
from epigraph.plot.scale import Scale, ticks
from epigraph.plot.svg import Format, lettering, number, picture, stroke, upright

if TYPE_CHECKING:
    from epigraph.critical.disconnectivity import Basin
    from epigraph.critical.result import Catalogue

WIDE = Format(width=720, height=400, left=74, right=20, top=30, bottom=22, text=15, ticks=6)
NARROW = Format(width=360, height=340, left=58, right=10, top=28, bottom=20, text=13, ticks=5)
NAMED = 24  # minima that are named under the picture


@final
@dataclass(frozen=True)
class Line:
    """A segment in (place, J); places are 0.5, 1.5, ... for the minima from left to right."""

    start: tuple[float, float]
    stop: tuple[float, float]
    open: bool = False  # it goes on, as nothing that was found joins it


@final
@dataclass(frozen=True)
class Info:
    """Lines, the lowest way from a minimum to a copy of itself as marks, names of the minima, and the range of J."""

    lines: tuple[Line, ...]
    loops: tuple[tuple[float, float], ...]
    names: tuple[tuple[float, float, str], ...]
    count: int
    low: float
    high: float
    trees: int


def info(found: Catalogue, copies: bool = False) -> Info | None:
    """What to draw; None where there is no minimum."""
    roots = found.disconnectivity(copies)
    if not roots:
        return None
    net = found.graph(copies)
    loops = {n: min(v for _, _, v in net.edges(n, data="value")) for n in net if net.has_edge(n, n)}
    loops = {n: min(d["value"] for d in net.get_edge_data(n, n).values()) for n in loops}
    levels = [v for _, _, v in net.edges(data="value")] + [leaf.value for root in roots for leaf in root.leaves]
    top, bottom = max(r.value for r in roots), min(levels)
    marks = list(loops.values()) if len(roots) == 1 and not roots[0].parts else []
    high = max([top, *marks])
    room = 0.06 * (high - bottom) or 0.5 * abs(high) or 0.5
    lines: list[Line] = []
    places: dict[object, float] = {}
    tops: dict[object, float] = {}
    middles = []
    for root in roots:
        middles.append(_place(root, places, lines, tops))
        if len(roots) > 1 or not root.parts:
            lines.append(Line((middles[-1], root.value), (middles[-1], high + room), True))
        tops |= {leaf.node: high + room for leaf in root.leaves if not root.parts}
    kept = tuple((places[n], v) for n, v in loops.items() if v <= tops[n])
    named = len(places) <= NAMED and not copies
    values = {leaf.node: leaf.value for root in roots for leaf in root.leaves}
    names = tuple((x, values[n], str(n + 1)) for n, x in places.items() if isinstance(n, int)) if named else ()
    return Info(tuple(lines), kept, names, len(places), bottom - room, high + room, len(roots))


def _place(basin: Basin, places: dict[object, float], lines: list[Line], tops: dict[object, float]) -> float:
    """Put the minima below side by side, draw what joins them, and give the middle."""
    if not basin.parts:
        places[basin.node] = len(places) + 0.5
        return places[basin.node]
    middles = []
    for part in basin.parts:
        middles.append(_place(part, places, lines, tops))
        lines.append(Line((middles[-1], part.value), (middles[-1], basin.value)))
        if not part.parts:
            tops[part.node] = basin.value
    lines.append(Line((min(middles), basin.value), (max(middles), basin.value)))
    return (min(middles) + max(middles)) / 2


def describe(info: Info) -> tuple[str, str]:
    """Title and description, for those who hear the picture."""
    what = f"{counted(info.count, 'minimum', 'minima')} in {counted(info.trees, 'tree')}"
    levels = sorted({line.start[1] for line in info.lines if line.start[1] == line.stop[1]})
    joined = "; joined at " + ", ".join(rounded(v, 6) for v in levels[:12]) if levels else ""
    return "Disconnectivity graph", what + joined


def draw(info: Info, identifier: str, shape: Format = WIDE) -> str:
    """The picture as one ``<svg>`` element."""
    frame = Box(shape.left, shape.top, shape.width - shape.right, shape.height - shape.bottom)
    across = Scale(0.0, float(info.count), frame.left + 8, frame.right)
    up = Scale(info.low, info.high, frame.bottom, frame.top)

    def at(point: tuple[float, float]) -> Pixel:
        return across(point[0]), up(point[1])

    body = upright(ticks(info.low, info.high, shape.ticks), "J", frame, shape, up)
    for line in info.lines:
        body.append(stroke(at(line.start), at(line.stop), "epi-chord" if line.open else "epi-branch"))
    for point in info.loops:
        x, y = at(point)
        body.append(f'<circle class="epi-loop" cx="{number(x)}" cy="{number(y)}" r="4"/>')
    for x, y, name in _spread(info.names, across, shape):
        body.append(lettering(Label(name, x, up(y) + 1.2 * shape.text, "middle"), "epi-tick"))
    return picture(identifier, *describe(info), shape, body)


def _spread(names: Sequence[tuple[float, float, str]], across: Scale, shape: Format) -> list[tuple[float, float, str]]:
    """Names in pixels from left to right, those left out that would touch the one before."""
    out: list[tuple[float, float, str]] = []
    for x, y, name in names:
        if not out or across(x) - out[-1][0] >= 0.6 * shape.text * len(name) + 4:
            out.append((across(x), y, name))
    return out
