"""Sine and cosine."""

from __future__ import annotations

import math
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Bound, Interval, Mask
from epigraph.calculus.rule import Elementwise, register
from epigraph.objective.graph import Node


class Wave(Elementwise):
    """sine or cosine on an interval shorter than half a period, by the quadrant; otherwise nothing but [-1, 1]."""

    phase: int  # f(x) = sin(x + phase pi / 2)

    @staticmethod
    def _quadrants(x: Interval) -> tuple[Bound, Bound]:
        """Bounds of x / (pi/2), relative to their size outward; NaN where unbounded or too large to place."""
        with np.errstate(invalid="ignore"):
            low, high = np.multiply(x.lower, 2 / math.pi), np.multiply(x.upper, 2 / math.pi)
            usable = (np.abs(low) < 1e6) & (np.abs(high) < 1e6)
            low, high = low - 1e-12 * np.abs(low), high + 1e-12 * np.abs(high)
        return np.where(usable, low, np.nan), np.where(usable, high, np.nan)

    def _inside(self, x: Interval, start: int) -> Mask:
        """Does x + phase pi/2 lie in the quadrants [start, start + 2] modulo 4?  The last comparison is exact."""
        low, high = self._quadrants(x)
        first = start - self.phase
        with np.errstate(invalid="ignore"):
            base = np.floor((low - first) / 4) * 4 + first
            found = (low >= base) & (high <= base + 2)
        return bool(found) if np.ndim(found) == 0 else found

    def range(self, node: Node, x: Interval) -> Interval:
        with np.errstate(invalid="ignore"):
            ends = [np.nan_to_num((np.cos if self.phase else np.sin)(b)) for b in (x.lower, x.upper)]
        low, high = np.minimum(*ends) - 1e-12, np.maximum(*ends) + 1e-12
        monotone = np.logical_or(self._inside(x, -1), self._inside(x, 1))
        hill, valley = self._inside(x, 0), self._inside(x, 2)
        low = np.where(hill, np.maximum(low, 0.0), np.where(monotone, np.maximum(low, -1.0), -1.0))
        high = np.where(valley, np.minimum(high, 0.0), np.where(monotone, np.minimum(high, 1.0), 1.0))
        return Interval(iv.plain(low), iv.plain(high))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return self._inside(x, -1), self._inside(x, 1)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return self._inside(x, 2), self._inside(x, 0)


@register("sin")
@final
class Sin(Wave):
    """sin x: concave on [0, pi], convex on [pi, 2 pi]."""

    lemma = "sine is concave on [0, pi] and convex on [pi, 2 pi]"
    phase = 0


@register("cos")
@final
class Cos(Wave):
    """cos x = sin(x + pi/2)."""

    lemma = "cosine is concave on [-pi/2, pi/2] and convex on [pi/2, 3 pi/2]"
    phase = 1
