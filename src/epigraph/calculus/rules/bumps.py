"""Functions that fall to one minimum and rise after it: xlogx, silu, gelu, mish.

Turning points and inflection points are irrational: each is held as the two neighbouring float64 numbers around it, so
that a claim is made only on an interval on which a test proves it with Arb.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Bound, Interval, Mask
from epigraph.calculus.rule import Elementwise, register
from epigraph.calculus.rules.smooth import by_torch
from epigraph.objective.graph import Node


def unimodal(x: Interval, value: Callable[[Bound], Bound], turn: tuple[float, float], least: float) -> Interval:
    """Range of a function that falls to its minimum within ``turn`` and rises after; ``least`` is below the minimum.

    The function may be unbounded or tend to zero at the ends; NaN from inf * 0 is the limit 0.
    """

    def end(b: Bound) -> Bound:
        with np.errstate(all="ignore"):
            found = np.asarray(value(b), dtype=np.float64)
        return np.where(np.isnan(found), 0.0, found)

    left, right = end(x.lower), end(x.upper)
    wide = iv.widen(np.minimum(left, right), np.maximum(left, right), units=64, absolute=1e-13)
    inside = (x.lower <= turn[1]) & (x.upper >= turn[0])
    low = np.where(inside, least, np.maximum(wide.lower, least))
    return Interval(iv.plain(low), iv.plain(wide.upper))


class Valley(Elementwise):
    """A function that falls, then rises, with one zero after its minimum; it is negative left of that zero."""

    turn: tuple[float, float]  # neighbouring floats around the minimum
    least: float  # the float below the minimal value
    zero: float

    def value(self, x: Bound) -> Bound:
        raise NotImplementedError

    def range(self, node: Node, x: Interval) -> Interval:
        return iv.pin(x, unimodal(x, self.value, self.turn, self.least), self.zero, 0.0)

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.lower >= self.turn[1], x.upper <= self.turn[0]

    def shape(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, False

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        """All are x s(x) with log-concave factors right of the zero."""
        return False, x.lower >= self.zero, False


@register("xlogx")
@final
class XLogX(Valley):
    """x log x on x >= 0, with 0 at 0: convex; decreasing to 1/e, then increasing [BV04 3.1.5]."""

    lemma = "x log x is convex on x >= 0"
    turn = (0.3678794411714423, 0.36787944117144233)
    least = -0.36787944117144233
    zero = 1.0

    def value(self, x: Bound) -> Bound:
        return np.where(np.greater(x, 0), x * np.log(np.maximum(x, 1e-320)), 0.0)

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        rising, falling = super().slope(node, x)
        return rising, x.nonnegative & falling

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonnegative, False

    def shape(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonnegative, False


class Bump(Valley):
    """x s(x) for a sigmoidal s > 0: convex between two inflection points about zero, concave beyond them."""

    zero = 0.0
    left: tuple[float, float]  # neighbouring floats around the left inflection point
    right: tuple[float, float]

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        beyond = (x.upper <= self.left[0]) | (x.lower >= self.right[1])
        return x.within(self.left[1], self.right[0]), beyond


@register("silu")
@final
class Silu(Bump):
    """x sigmoid(x): f'' has the sign of 2 - x tanh(x/2): convex exactly on |x| <= 2.39935728..."""

    lemma = "x sigmoid(x) is convex on |x| <= 2.3993 and concave beyond"
    turn = (-1.278464542761074, -1.2784645427610737)
    least = -0.2784645427610738
    left = (-2.399357280515468, -2.3993572805154675)
    right = (2.3993572805154675, 2.399357280515468)

    def value(self, x: Bound) -> Bound:
        return x * np.exp(-np.logaddexp(-np.asarray(x), 0.0))


@register("gelu")
@final
class Gelu(Bump):
    """x Phi(x): f'' = phi(x)(2 - x^2), so convex exactly on |x| <= sqrt 2; minimum at -0.7517915246935645..."""

    lemma = "x Phi(x) is convex on |x| <= sqrt(2) and concave beyond"
    turn = (-0.7517915246935645, -0.7517915246935644)
    least = -0.16997120747990369
    left = (-1.4142135623730951, -1.414213562373095)
    right = (1.414213562373095, 1.4142135623730951)

    def value(self, x: Bound) -> Bound:
        return x * 0.5 * by_torch("erfc", -np.asarray(x) / math.sqrt(2))


@register("mish")
@final
class Mish(Bump):
    """x tanh(softplus(x)): convex between its two inflection points, near -2.2564 and 1.4906; minimum near -1.1924."""

    lemma = "x tanh(softplus(x)) is convex between its inflection points, near -2.2564 and 1.4906"
    turn = (-1.1924312145154954, -1.1924312145154952)
    least = -0.30884341301725043
    left = (-2.2563763963607935, -2.256376396360793)
    right = (1.4905711794854284, 1.4905711794854286)

    def value(self, x: Bound) -> Bound:
        return x * np.tanh(np.logaddexp(x, 0.0))
