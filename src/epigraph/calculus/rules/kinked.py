"""abs, relu, elu, piecewise polynomials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any, final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Bound, Interval, Mask
from epigraph.calculus.lattice import ALL, LOGCONCAVE, LOGCONVEX, ROOTCONVEX, Bits, Facts, when
from epigraph.calculus.rule import Elementwise, register
from epigraph.objective.graph import Node


def absolute(x: Interval) -> Interval:
    """Bounds of |x|, which is at least x, -x and 0."""
    if x.uniform:
        low, high = x.hull
        return Interval(max(low, -high, 0.0), max(-low, high))
    return Interval(np.maximum(np.maximum(x.lower, -x.upper), 0.0), np.maximum(-x.lower, x.upper))


def of_nonnegative(x: Facts) -> Bits:
    """Claims of |f| and of max(f, 0) from those about an f >= 0: they are f."""
    return when(x.interval.nonnegative, x.bits) | x.bits & (LOGCONVEX | LOGCONCAVE | ROOTCONVEX)


@register("abs")
@final
class Abs(Elementwise):
    """|x|: convex, decreasing then increasing; log-concave on either side of zero."""

    lemma = "the absolute value is convex"

    def range(self, node: Node, x: Interval) -> Interval:
        return absolute(x)

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonnegative, x.nonpositive

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, x.nonnegative | x.nonpositive

    def special(self, node: Node, x: Facts) -> Bits:
        return of_nonnegative(x)


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
        return of_nonnegative(x) | when(x.interval.nonpositive, ALL)


@register("elu")
@final
class Elu(Elementwise):
    """x for x > 0, alpha (e^x - 1) below: nondecreasing for alpha >= 0; the slope jumps from alpha to 1 at 0."""

    lemma = "elu is convex and nondecreasing for 0 <= alpha <= 1"

    def range(self, node: Node, x: Interval) -> Interval:
        alpha = Fraction(node.attributes["alpha"])

        def value(b: Bound) -> Bound:
            return np.where(np.asarray(b) > 0, b, float(alpha) * np.expm1(np.minimum(b, 0.0)))

        if alpha >= 0:
            bottom = -math.nextafter(_above(alpha), math.inf)
            return iv.clip(iv.pin(x, iv.monotone(x, value), 0.0, 0.0), bottom, math.inf)
        low = np.where(x.lower > 0, x.lower, value(np.minimum(x.upper, 0.0)))
        high = np.maximum(value(np.minimum(x.lower, 0.0)), x.upper)
        return iv.clip(iv.widen(iv.plain(low), iv.plain(high)), 0.0, math.inf)

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

    def shape(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        """For alpha < 0 it falls to 0, then rises."""
        return Fraction(node.attributes["alpha"]) < 0, False


@final
class Polynomials:
    """A continuous piecewise polynomial of degree at most two, exactly."""

    def __init__(self, knots: Sequence[str], pieces: Sequence[Sequence[str]]):
        self.knots = [Fraction(k) for k in knots]
        padded = [[Fraction(c) for c in p] + [Fraction(0)] * (3 - len(p)) for p in pieces]
        self.pieces = padded
        ends = [-math.inf, *self.knots, math.inf]
        self.spans = list(pairwise(ends))

    def derivative(self, piece: int, x: Fraction) -> Fraction:
        _, b, c = self.pieces[piece]
        return b + 2 * c * x

    def value(self, piece: int, x: Fraction) -> Fraction:
        a, b, c = self.pieces[piece]
        return a + b * x + c * x * x

    def touched(self, low: float, high: float) -> list[int]:
        """Pieces that meet the interval in more than a point, or the one piece of a point."""
        found = [i for i, (start, stop) in enumerate(self.spans) if low < stop and high > start]
        return found or [next((i for i, (start, stop) in enumerate(self.spans) if start <= low <= stop), 0)]

    def slopes(self, low: float, high: float) -> list[Fraction | float]:
        """The derivative at the two ends of each piece met, from left to right; linear in between."""
        out: list[Fraction | float] = []
        for i in self.touched(low, high):
            _, b, c = self.pieces[i]
            for end in (max(low, self.spans[i][0]), min(high, self.spans[i][1])):
                far = b if c == 0 else math.inf if (c > 0) == (end > 0) else -math.inf
                out.append(self.derivative(i, Fraction(end)) if -math.inf < end < math.inf else far)
        return out

    def signs(self, low: float, high: float) -> tuple[bool, bool, bool, bool]:
        """(nondecreasing, nonincreasing, falls then rises, rises then falls) on the interval."""
        slopes = self.slopes(low, high)
        up, down = [v > 0 for v in slopes], [v < 0 for v in slopes]
        return not any(down), not any(up), not _after(up, down), not _after(down, up)

    def bends(self, low: float, high: float) -> tuple[bool, bool]:
        """(convex, concave) on the interval: the derivative rises, or falls, all the way."""
        slopes = self.slopes(low, high)
        pairs = list(pairwise(slopes))
        return all(v <= w for v, w in pairs), all(v >= w for v, w in pairs)

    def range(self, low: float, high: float) -> tuple[float, float]:
        values: list[Fraction | float] = []
        for i in self.touched(low, high):
            _, b, c = self.pieces[i]
            ends = max(low, self.spans[i][0]), min(high, self.spans[i][1])
            values += [self._end(i, end) for end in ends]
            if c != 0 and ends[0] <= -b / (2 * c) <= ends[1]:
                values.append(self.value(i, -b / (2 * c)))
        return _below(min(values)), _above(max(values))

    def _end(self, piece: int, end: float | Fraction) -> Fraction | float:
        """The value at an end, or its limit where the end is infinite."""
        if -math.inf < end < math.inf:
            return self.value(piece, Fraction(end))
        a, b, c = self.pieces[piece]
        rising = b if end > 0 else -b
        leading = c if c != 0 else rising
        return a if leading == 0 else math.inf if leading > 0 else -math.inf


def _after(first: Sequence[bool], second: Sequence[bool]) -> bool:
    """Does one of the second kind come after one of the first?"""
    return True in first and True in second[first.index(True) :]


def _near(v: Fraction | float) -> float:
    try:
        return float(v)
    except OverflowError:
        return math.inf if v > 0 else -math.inf


def _below(v: Fraction | float) -> float:
    """The greatest float that is not above v, and no greater than the greatest finite one."""
    near = _near(v)
    return math.nextafter(near, -math.inf) if near > v else near


def _above(v: Fraction | float) -> float:
    near = _near(v)
    return math.nextafter(near, math.inf) if near < v else near


@lru_cache(maxsize=512)
def _polynomials(knots: tuple[str, ...], pieces: tuple[tuple[str, ...], ...]) -> Polynomials:
    return Polynomials(knots, pieces)


def polynomials(node: Node) -> Polynomials:
    return _polynomials(tuple(node.attributes["knots"]), tuple(map(tuple, node.attributes["pieces"])))


def by_entry(x: Interval, decide: Callable[[float, float], Sequence[float]]) -> list[Any]:
    """The decisions for each entry's interval, or for the hull of all where there are many different ones."""
    low, high = np.broadcast_arrays(x.lower, x.upper)
    if x.uniform or not 0 < low.size <= 4096:
        return list(decide(*x.hull))
    pairs, place = np.unique(np.stack((low.reshape(-1), high.reshape(-1)), -1), axis=0, return_inverse=True)
    if len(pairs) > 256:
        return list(decide(*x.hull))
    found = [decide(*pair) for pair in pairs.tolist()]
    return [np.array(column)[place].reshape(low.shape) for column in zip(*found, strict=True)]


@register("piecewise")
@final
class Piecewise(Elementwise):
    """leaky relu, clamps, Huber and the like: every property is decided in rational arithmetic from the pieces met."""

    lemma = "a continuous piecewise polynomial is convex where its slope never drops"

    def range(self, node: Node, x: Interval) -> Interval:
        return Interval(*by_entry(x, polynomials(node).range))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        rises, falls, _, _ = by_entry(x, polynomials(node).signs)
        return rises, falls

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        convex, concave = by_entry(x, polynomials(node).bends)
        return convex, concave

    def shape(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        _, _, valley, hill = by_entry(x, polynomials(node).signs)
        return valley, hill
