"""Powers with a rational exponent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval, Mask
from epigraph.calculus.lattice import CONCAVE, CONVEX, LOGCONCAVE, LOGCONVEX, ROOTCONVEX, Bits, Facts
from epigraph.calculus.rule import Elementwise, register
from epigraph.calculus.rules.kinked import absolute
from epigraph.objective.graph import Node


@register("power")
@final
class Power(Elementwise):
    """x^p.  Even p: convex, root-convex.  Odd p > 1: convex on x >= 0, concave on x <= 0.  Other p: on x >= 0 only,

    convex for p >= 1 and p <= 0, concave for 0 <= p <= 1 [BV04 3.1.5]; odd p < 0 on x <= 0: concave, decreasing; even
    p < 0 there: convex, increasing.  Where x = 0 and p < 0 the value is the limit from inside a box that ends there.
    """

    lemma = "the curvature of x^p follows from p and the sign of x"

    @staticmethod
    def exponent(node: Node) -> Fraction:
        return Fraction(node.attributes["exponent"])

    def range(self, node: Node, x: Interval) -> Interval:
        p = self.exponent(node)
        if p.denominator == 1:
            out = whole_power(abs(int(p)), x)
            return out if p > 0 else iv.reciprocal(out)
        safe = iv.clip(x, 0.0, math.inf)
        # |log x| < 745, so that an exponent that is rounded to a float costs less than 373 |p| units
        units = 64 if Fraction(float(p)) == p else 64 + 400 * abs(float(p))
        return iv.clip(iv.monotone(safe, lambda b: np.power(b, float(p)), increasing=p > 0, units=units), 0.0, math.inf)

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        p = self.exponent(node)
        right, left = x.nonnegative, x.nonpositive
        if p.denominator > 1:
            return (right, False) if p > 0 else (False, right)
        if p > 0:
            return (True, False) if p % 2 else (right, left)
        return (False, right | left) if p % 2 else (left, right)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        p = self.exponent(node)
        right, left = x.nonnegative, x.nonpositive
        if p.denominator > 1:
            return (right, False) if p > 1 or p < 0 else (False, right)
        if p > 0:
            return (right, left) if p % 2 else (True, False)
        return (right, left) if p % 2 else (right | left, False)

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        p = self.exponent(node)
        even = p.denominator == 1 and p % 2 == 0
        side = x.nonnegative | x.nonpositive if even else x.nonnegative
        root = (True if even else x.nonnegative) if p >= 2 else False
        return (False, side, root) if p > 0 else (side, False, side)

    def special(self, node: Node, x: Facts) -> Bits:
        """Powers of log- and root-claims: logs scale; sqrt(f)^(2p) is convex for p >= 1/2 and its root for p >= 1."""
        p = self.exponent(node)
        if p < 0:
            return ((x.bits & LOGCONVEX) << 1) | ((x.bits & LOGCONCAVE) >> 1)
        out = x.bits & (LOGCONVEX | LOGCONCAVE)
        if p >= 1:
            out = out | (x.bits & ROOTCONVEX)
        elif p >= Fraction(1, 2):
            out = out | ((x.bits & ROOTCONVEX) >> 6)
        return out

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        p = self.exponent(node)
        return x[0].degree * int(p) if x[0].degree >= 0 and p.denominator == 1 and p > 0 else -1

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        p = self.exponent(node)
        if (p < 0 or p.denominator > 1) and x[0].interval.hull[0] < 0:
            return f"the argument of the power {p} ranges over {x[0].interval}, beyond its domain"
        if p == 2:
            return (
                "the square of a function that is convex or concave and takes both signs has no fixed curvature"
                if not (x[0].has(CONVEX) and x[0].has(CONCAVE))
                else "the square is lost"
            )
        return super().reason(node, x)


def whole_power(p: int, x: Interval) -> Interval:
    """x^p for p >= 0: monotone in x for odd p, in |x| for even p; exact where the products of the ends are."""
    base = x if p % 2 else absolute(x)
    if p > 4:
        out = iv.monotone(base, lambda b: np.power(b, float(p)), units=8 + p)
        return iv.pin(base, out, 0.0, 0.0)
    ends = [Interval.point(1.0), Interval.point(1.0)]
    for _ in range(p):
        ends = [iv.mul(end, Interval.point(b)) for end, b in zip(ends, (base.lower, base.upper), strict=True)]
    return Interval(ends[0].lower, ends[1].upper)
