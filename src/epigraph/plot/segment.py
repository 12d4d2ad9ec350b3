r"""The picture of a certificate: J along the segment from a to b, the line it should respect, and the gap at m.

The horizontal axis is s in [-1, 1], the point m + s (b - a)/2, so that a, m, b are at -1, 0, 1.  For ``convex`` and
``concave`` the line is the chord through J(a) and J(b), for ``quasiconvex`` the level max(J(a), J(b)), for
``quasiconcave`` the level min(J(a), J(b)).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from epigraph.plot.numbers import round_down

if TYPE_CHECKING:
    from epigraph.convexity.verdict import Certificate

Point = tuple[float, float]
VISIBLE = 0.06  # the least share of the panel's height that a gap must have to be seen
ROUNDING = 1e-11  # below this relative gap, a difference of float64 values is mostly rounding


@final
@dataclass(frozen=True)
class Panel:
    """Curves, a straight line from s = -1 to s = 1, the three points, and the gap at s = 0 from ``foot`` to ``tip``."""

    curves: tuple[tuple[Point, ...], ...]
    line: tuple[Point, Point]
    points: Mapping[str, Point]
    foot: float
    tip: float
    axis: str
    line_name: str

    @property
    def extent(self) -> tuple[float, float]:
        """The least and the largest value that must be in view, with a margin of 8 % on both sides."""
        heights = [y for piece in self.curves for _, y in piece] + [y for _, y in self.line]
        heights += [y for _, y in self.points.values()] + [self.foot, self.tip]
        low, high = min(heights), max(heights)
        margin = 0.08 * (high - low) or 0.5 * abs(high) or 0.5
        return low - margin, high + margin

    @property
    def share(self) -> float:
        """The gap as a share of the panel's height."""
        low, high = self.extent
        return abs(self.tip - self.foot) / (high - low)


@final
@dataclass(frozen=True)
class Segment:
    """What is drawn for a certificate.  ``magnified`` shows J minus the line where the gap is too small to be seen."""

    kind: str
    gap: str
    panel: Panel
    magnified: Panel | None

    @property
    def hidden(self) -> bool:
        """Is the gap too small for any picture made of float64 values?"""
        return self.panel.share < VISIBLE and self.magnified is None


def _pieces(profile: Iterable[Point]) -> tuple[tuple[Point, ...], ...]:
    """The finite runs of the profile: NaN and infinities interrupt the curve."""
    runs: list[list[Point]] = [[]]
    for s, value in profile:
        if math.isfinite(s) and math.isfinite(value):
            runs[-1].append((float(s), float(value)))
        elif runs[-1]:
            runs.append([])
    return tuple(tuple(run) for run in runs if len(run) > 1)


def _passes(profile: Iterable[Point], points: Iterable[Point]) -> bool:
    """Does the profile pass through the certificate's points, up to 2 % of their range?  If not, it is of another J."""
    values, points = dict(profile), list(points)
    heights = [y for _, y in points]
    slack = 0.02 * (max(heights) - min(heights)) + 1e-6 * max(map(abs, heights))
    return all(abs(values[s] - y) <= slack for s, y in points if math.isfinite(values.get(s, math.nan)))


def _heights(certificate: Certificate) -> dict[str, float] | None:
    """J at a, b, m from the certificate's enclosures, or None if one is missing or not finite."""
    found = {}
    for name in ("a", "b", "m"):
        value = certificate.values.get(name, certificate.values.get(f"J({name})"))
        if value is None or not math.isfinite(value):
            return None
        found[name] = float(value)
    return found


def _line(kind: str, at: Mapping[str, float]) -> tuple[str, float, float]:
    if kind == "quasiconvex":
        return "max(J(a), J(b))", max(at["a"], at["b"]), max(at["a"], at["b"])
    if kind == "quasiconcave":
        return "min(J(a), J(b))", min(at["a"], at["b"]), min(at["a"], at["b"])
    return "chord", at["a"], at["b"]


def segment(certificate: Certificate) -> Segment | None:
    """The numbers to draw, or None where J is not finite at one of the three points or the kind has no such picture."""
    at = _heights(certificate)
    if at is None or certificate.kind not in ("convex", "concave", "quasiconvex", "quasiconcave"):
        return None
    name, left, right = _line(certificate.kind, at)
    points = {"a": (-1.0, at["a"]), "m": (0.0, at["m"]), "b": (1.0, at["b"])}
    line = ((-1.0, left), (1.0, right))
    curves = _pieces(certificate.profile) if _passes(certificate.profile, points.values()) else ()
    panel = Panel(curves, line, points, left / 2 + right / 2, at["m"], "J", name)
    if not math.isfinite(panel.extent[1] - panel.extent[0]):
        return None
    small = panel.share < VISIBLE and certificate.relative_gap > ROUNDING
    return Segment(certificate.kind, round_down(certificate.gap), panel, _magnify(panel) if small else None)


def _magnify(panel: Panel) -> Panel | None:
    """J minus the line, within eight times the gap; None if the gap vanishes in floats."""
    (_, left), (_, right) = panel.line

    def lifted(point: Point) -> Point:
        s, value = point
        return s, value - panel.foot - s * (right - left) / 2

    raised = {key: lifted(point) for key, point in panel.points.items()}
    tip = raised["m"][1]
    if tip == 0:
        return None
    curves = tuple(run for piece in panel.curves for run in _near(tuple(map(lifted, piece)), 8 * abs(tip)))
    points = {key: point for key, point in raised.items() if abs(point[1]) <= 8 * abs(tip)}
    return Panel(curves, ((-1.0, 0.0), (1.0, 0.0)), points, 0.0, tip, f"J − {panel.line_name}", "0")


def _near(piece: tuple[Point, ...], limit: float) -> tuple[tuple[Point, ...], ...]:
    """The runs of a curve that stay within the limit."""
    return _pieces((s, y if abs(y) <= limit else math.nan) for s, y in piece)
