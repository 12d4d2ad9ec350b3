"""abs, relu, elu, piecewise polynomials."""
from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Bound, Interval, Mask
from epigraph.calculus.lattice import LOGCONVEX, ROOTCONVEX, Bits, Facts
from epigraph.calculus.rule import Elementwise, register
from epigraph.objective.graph import Node


@register("abs")
@final
class Abs(Elementwise):
    """|x|: convex, decreasing then increasing."""

    lemma = "the absolute value is convex"

    def range(self, node: Node, x: Interval) -> Interval:
        if x.uniform:
            low, high = x.hull
            return Interval(0.0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high)))
        sizes = np.abs(x.lower), np.abs(x.upper)
        inside = (x.lower <= 0) & (x.upper >= 0)
        return Interval(np.where(inside, 0.0, np.minimum(*sizes)), np.maximum(*sizes))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonnegative, x.nonpositive

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, x.nonnegative | x.nonpositive

    def special(self, node: Node, x: Facts) -> Bits:
        return x.bits & (LOGCONVEX | ROOTCONVEX)  # these are claims about f >= 0, where |f| = f


@register("relu")
@final
class Relu(Elementwise):
    """max(0, x): convex, nondecreasing, log-concave."""

    lemma = "relu is convex and nondecreasing"

    def range(self, node: Node, x: Interval) -> Interval:
        if x.uniform:
            return Interval(max(x.hull[0], 0.0), max(x.hull[1], 0.0))
        return Interval(np.maximum(x.lower, 0.0), np.maximum(x.upper, 0.0))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, x.nonpositive

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, x.nonnegative | x.nonpositive

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, True, False

    def special(self, node: Node, x: Facts) -> Bits:
        return x.bits & (LOGCONVEX | ROOTCONVEX)


@register("elu")
@final
class Elu(Elementwise):
    """x for x > 0, alpha (e^x - 1) below: nondecreasing for alpha >= 0; the slope jumps from alpha to 1 at 0."""

    lemma = "elu is convex and nondecreasing for 0 <= alpha <= 1"

    def range(self, node: Node, x: Interval) -> Interval:
        alpha = float(Fraction(node.attributes["alpha"]))
        if alpha < 0:
            low, high = x.hull
            return Interval(min(low, 0.0), max(high, -alpha, 0.0) * (1 + 1e-12))

        def value(b: Bound) -> Bound:
            return np.where(np.asarray(b) > 0, b, alpha * np.expm1(np.minimum(b, 0.0)))

        return iv.monotone(x, value)

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        if Fraction(node.attributes["alpha"]) >= 0:
            return True, False
        return x.nonnegative, x.nonpositive

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        alpha = Fraction(node.attributes["alpha"])
        if 0 <= alpha <= 1:
            return True, x.nonnegative
        if alpha > 1:
            return x.nonnegative | x.nonpositive, x.nonnegative
        return x.nonnegative, x.nonnegative | x.nonpositive


@final
class Polynomials:
    """A continuous piecewise polynomial of degree at most two, exactly."""

    def __init__(self, knots: Sequence[str], pieces: Sequence[Sequence[str]]):
        self.knots = [Fraction(k) for k in knots]
        padded = [[Fraction(c) for c in p] + [Fraction(0)] * (3 - len(p)) for p in pieces]
        self.pieces = padded
        ends = [-math.inf, *self.knots, math.inf]
        self.spans = list(zip(ends, ends[1:], strict=False))

    def derivative(self, piece: int, x: Fraction) -> Fraction:
        _, b, c = self.pieces[piece]
        return b + 2 * c * x

    def value(self, piece: int, x: Fraction) -> Fraction:
        a, b, c = self.pieces[piece]
        return a + b * x + c * x * x

    def touched(self, low: float, high: float) -> list[int]:
        """Pieces that meet the interval in more than a point, or the one piece of a point."""
        found = [i for i, (l, h) in enumerate(self.spans) if low < h and high > l]
        return found or [next(i for i, (l, h) in enumerate(self.spans) if l <= low <= h)]

    def slopes(self, low: float, high: float) -> tuple[Fraction | float, Fraction | float]:
        """Bounds of the derivative on the interval."""
        out: list[Fraction | float] = []
        for i in self.touched(low, high):
            _, b, c = self.pieces[i]
            for end in (max(low, self.spans[i][0]), min(high, self.spans[i][1])):
                out.append(b if c == 0 else (b + 2 * c * Fraction(end) if math.isfinite(end) else math.copysign(math.inf, c * (1 if end > 0 else -1))))
        return min(out), max(out)

    def bends(self, low: float, high: float) -> tuple[bool, bool]:
        """(convex, concave) on the interval."""
        touched = self.touched(low, high)
        seconds = [self.pieces[i][2] for i in touched]
        jumps = [self.derivative(j, self.knots[i]) - self.derivative(i, self.knots[i]) for i, j in zip(touched, touched[1:], strict=False)]
        return all(v >= 0 for v in (*seconds, *jumps)), all(v <= 0 for v in (*seconds, *jumps))

    def range(self, low: float, high: float) -> tuple[float, float]:
        values: list[Fraction | float] = []
        for i in self.touched(low, high):
            a, b, c = self.pieces[i]
            for end in (max(low, self.spans[i][0]), min(high, self.spans[i][1])):
                values.append(self._end(i, end))
            if c != 0:
                turn = -b / (2 * c)
                if max(low, self.spans[i][0]) <= turn <= min(high, self.spans[i][1]):
                    values.append(self.value(i, turn))
        return min(map(_below, values)), max(map(_above, values))

    def _end(self, piece: int, end: float | Fraction) -> Fraction | float:
        if math.isfinite(end):
            return self.value(piece, Fraction(end))
        a, b, c = self.pieces[piece]
        sign = 1 if end > 0 else -1
        if c != 0:
            return math.copysign(math.inf, c)
        return math.copysign(math.inf, b * sign) if b != 0 else a


def _below(v: Fraction | float) -> float:
    return v if isinstance(v, float) else math.nextafter(float(v), -math.inf) if Fraction(float(v)) > v else float(v)


def _above(v: Fraction | float) -> float:
    return v if isinstance(v, float) else math.nextafter(float(v), math.inf) if Fraction(float(v)) < v else float(v)


@lru_cache(maxsize=512)
def _polynomials(knots: tuple[str, ...], pieces: tuple[tuple[str, ...], ...]) -> Polynomials:
    return Polynomials(knots, pieces)


def polynomials(node: Node) -> Polynomials:
    return _polynomials(tuple(node.attributes["knots"]), tuple(map(tuple, node.attributes["pieces"])))


@register("piecewise")
@final
class Piecewise(Elementwise):
    """leaky relu, clamps, Huber and their like: every property is decided in rational arithmetic from the pieces met."""

    lemma = "a continuous piecewise polynomial is convex where its pieces are and its slopes never drop"

    def range(self, node: Node, x: Interval) -> Interval:
        return Interval(*polynomials(node).range(*x.hull))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        low, high = polynomials(node).slopes(*x.hull)
        return low >= 0, high <= 0

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        p = polynomials(node)
        if x.uniform:
            return p.bends(*x.hull)
        whole = p.bends(*x.hull)
        if whole[0] or whole[1] or len(p.knots) > 4:
            return whole
        return self._entrywise(p, x)

    def _entrywise(self, p: Polynomials, x: Interval) -> tuple[Mask, Mask]:
        """By the pieces that each entry's interval meets."""
        low, high = np.broadcast_arrays(x.lower, x.upper)
        convex, concave = np.ones(low.shape, bool), np.ones(low.shape, bool)
        for i, piece in enumerate(p.pieces):
            start, stop = p.spans[i]
            met = (low < _above(stop)) & (high > _below(start)) | (low == high)
            convex &= ~(met & (piece[2] < 0))
            concave &= ~(met & (piece[2] > 0))
        for i, knot in enumerate(p.knots):
            jump = p.derivative(i + 1, knot) - p.derivative(i, knot)
            crossed = (low < _above(knot)) & (high > _below(knot))
            convex &= ~(crossed & (jump < 0))
            concave &= ~(crossed & (jump > 0))
        return convex, concave
