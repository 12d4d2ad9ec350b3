"""How often random starts led to each minimum: shares with 95 % intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from epigraph.critical.frequency import Frequency, frequencies
from epigraph.plot.numbers import rounded
from epigraph.plot.placing import Box, Label
from epigraph.plot.scale import Scale, ticks
from epigraph.plot.svg import Format, along, lettering, number, picture, stroke

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue

ROWS = 20  # minima that are drawn, those with the largest shares
WIDE = Format(width=720, height=0, left=190, right=26, top=14, bottom=50, text=15, ticks=6)
NARROW = Format(width=360, height=0, left=126, right=16, top=12, bottom=46, text=13, ticks=3)


@final
@dataclass(frozen=True)
class Row:
    """A minimum's position, its value, and how often it was found."""

    name: str
    value: float
    share: Frequency


@final
@dataclass(frozen=True)
class Info:
    """Rows by value; ``left`` minima are not drawn."""

    rows: tuple[Row, ...]
    left: int
    of: int
    high: float


def info(found: Catalogue) -> Info | None:
    """What to draw; None where no normal start was counted."""
    every = frequencies(found)
    if not every:
        return None
    chosen = sorted(sorted(every, key=lambda f: -f.times)[:ROWS], key=lambda f: f.point)
    rows = tuple(Row(str(f.point + 1), found.points[f.point].value, f) for f in chosen)
    return Info(rows, len(every) - len(rows), every[0].of, max(f.high for f in chosen))


def describe(info: Info) -> tuple[str, str]:
    """Title and description, for those who hear the picture."""
    told = "; ".join(f"{r.name}: {r.share.times} of {info.of}" for r in info.rows)
    return "Shares of the basins", told


def draw(info: Info, identifier: str, shape: Format = WIDE) -> str:
    """The picture as one ``<svg>`` element."""
    row = 1.9 * shape.text
    shape = replace(shape, height=shape.top + row * len(info.rows) + shape.bottom)
    frame = Box(shape.left, shape.top, shape.width - shape.right, shape.height - shape.bottom)
    across = Scale(0.0, min(1.0, 1.05 * info.high), frame.left, frame.right)
    body = along(ticks(0.0, min(1.0, 1.05 * info.high), shape.ticks), "share of the starts", frame, shape, across)
    for k, r in enumerate(info.rows):
        y = frame.top + (k + 0.5) * row
        text = f"{r.name}: J = {rounded(r.value, 6 if shape.width < 500 else 9)}".replace("-", "−")
        body.append(lettering(Label(text, frame.left - 12, y + 0.35 * shape.text, "end"), "epi-tick"))
        body.append(stroke((frame.left, y), (frame.right, y), "epi-grid"))
        ends = [(across(v), y) for v in (r.share.low, r.share.high)]
        body.append(stroke(ends[0], ends[1], "epi-range"))
        body.append(f'<circle class="epi-mark" cx="{number(across(r.share.share))}" cy="{number(y)}" r="4.5"/>')
    return picture(identifier, *describe(info), shape, body)
