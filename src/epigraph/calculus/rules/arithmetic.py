"""add, neg, mul, div, maximum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval, Mask
from epigraph.calculus.lattice import (
    AFFINE,
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    LOGCONVEX,
    QCONCAVE,
    QCONVEX,
    QUASILINEAR,
    ROOTCONVEX,
    Bits,
    Facts,
    negate,
    when,
)
from epigraph.calculus.rule import Rule, Shapes, register
from epigraph.objective.graph import Node

ADDITIVE = CONVEX | CONCAVE | LOGCONVEX | ROOTCONVEX


def full(bits: Bits, shape: tuple[int, ...], out: tuple[int, ...]) -> Bits:
    """Bits of an operand broadcast to the result."""
    return bits if isinstance(bits, int) or shape == out else np.broadcast_to(bits, out)


def same_carrier(x: Sequence[Facts], shapes: Shapes) -> tuple[int, int, int] | None:
    """(node, direction of x, direction of y) where both are functions of one affine node, entry by entry."""
    f, g = x[0].carrier, x[1].carrier
    if f is None or g is None or f[0] != g[0] or shapes[0] != shapes[1]:
        return None
    return f[0], f[1], g[1]


@register("add")
@final
class Add(Rule):
    """f + g: nonnegative sums keep convexity, concavity, log-convexity and root-convexity [BV04 3.2.1, 3.5.2]."""

    lemma = "a sum of convex functions is convex"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.add(x[0], x[1])

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        a, b = (full(f.bits, s, node.shape) for f, s in zip(x, shapes, strict=True))
        out = a & b & ADDITIVE
        if not x[1].varies:
            out = out | (a & QUASILINEAR)
        if not x[0].varies:
            out = out | (b & QUASILINEAR)
        pair = self.carrier(node, x, shapes)
        return out | QUASILINEAR if pair is not None and pair[1] != 0 else out

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return -1 if min(x[0].degree, x[1].degree) < 0 else max(x[0].degree, x[1].degree)

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        for f, c, s in ((x[0], x[1], shapes[0]), (x[1], x[0], shapes[1])):
            if not c.varies and s == node.shape:
                return f.carrier
        pair = same_carrier(x, shapes)
        return None if pair is None else (pair[0], pair[1] if pair[1] == pair[2] else 0)

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "a sum of a convex and a concave function has no fixed curvature"


@register("neg")
@final
class Neg(Rule):
    """-f: convex and concave change places."""

    lemma = "the negative of a convex function is concave"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.neg(x[0])

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        return negate(x[0].bits)

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return x[0].degree

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        return None if x[0].carrier is None else (x[0].carrier[0], -x[0].carrier[1])


def scaled(bits: Bits, factor: Interval) -> Bits:
    """Claims of c f for a constant c of known sign; an affine or quasilinear f stays so for any c."""
    linear = (bits & CONVEX) & ((bits & CONCAVE) >> 1)
    quasilinear = ((bits & QCONVEX) >> 2) & ((bits & QCONCAVE) >> 3)
    out = linear * AFFINE | quasilinear * QUASILINEAR
    return out | when(factor.nonnegative, bits) | when(factor.nonpositive, negate(bits))


@register("mul")
@final
class Mul(Rule):
    """f g.  One factor constant: scaling.  Both varying: log-claims add; two nonnegative convex functions of one affine

    variable that move the same way have a convex product (Chebyshev's sum inequality), two nonnegative concave ones
    that move in opposite ways a concave one.  A nonpositive factor is minus a nonnegative one.
    """

    lemma = "a nonnegative multiple of a convex function is convex"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.mul(x[0], x[1])

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        a, b = (full(f.bits, s, node.shape) for f, s in zip(x, shapes, strict=True))
        if not x[0].varies:
            return scaled(b, x[0].interval)
        if not x[1].varies:
            return scaled(a, x[1].interval)
        out = a & b & (LOGCONVEX | LOGCONCAVE)
        pair = same_carrier(x, shapes)
        if pair is None or pair[1] * pair[2] == 0:
            return out
        direction = self.carrier(node, x, shapes)
        out = out | (QUASILINEAR if direction is not None and direction[1] else 0)
        return out | _of_one_variable(a, b, x[0].interval, x[1].interval, pair[1] == pair[2])

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return -1 if min(x[0].degree, x[1].degree) < 0 else x[0].degree + x[1].degree

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        for f, c, s in ((x[0], x[1], shapes[0]), (x[1], x[0], shapes[1])):
            if not c.varies and s == node.shape and f.carrier is not None:
                return f.carrier[0], f.carrier[1] * _sign(c.interval)
        pair = same_carrier(x, shapes)
        if pair is None:
            return None
        turn = pair[1] * _sign(x[1].interval)  # of f' g, which must agree with that of f g'
        return pair[0], turn if turn == pair[2] * _sign(x[0].interval) else 0

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        if x[0].varies and x[1].varies:
            return "both factors depend on the parameters: a product of two varying factors has no fixed curvature"
        return "a constant factor of both signs, or of unknown sign, multiplies a function that is not affine"


def _of_one_variable(a: Bits, b: Bits, f: Interval, g: Interval, alike: bool) -> Bits:
    """f g for monotone f and g of one affine variable that move alike, or in opposite ways.

    |f| and |g| convex and moving alike: |f| |g| is convex.  Concave and moving in opposite ways: concave.  With one
    factor nonpositive |f| |g| = -f g, and |f| moves against f.
    """
    out: Bits = 0
    for first, second, left, right in (
        (a, b, f.nonnegative, g.nonnegative),
        (negate(a), negate(b), f.nonpositive, g.nonpositive),
    ):
        out = out | when(left & right, first & second & (CONVEX if alike else CONCAVE))
    for first, second, left, right in (
        (a, negate(b), f.nonnegative, g.nonpositive),
        (negate(a), b, f.nonpositive, g.nonnegative),
    ):
        out = out | when(left & right, negate(first & second & (CONCAVE if alike else CONVEX)))
    return out


def _sign(x: Interval) -> int:
    low, high = x.hull
    return 1 if low >= 0 else -1 if high <= 0 else 0


def _every(mask: Mask) -> bool:
    return bool(np.all(mask))


@register("div")
@final
class Div(Rule):
    """f / g for g > 0.  f^2/g is convex for root-convex f^2 and concave g [BV04 3.2.6]; f >= 0 convex over g concave is

    quasiconvex, a ratio of affine functions quasilinear [BV04 3.4]; log-claims subtract; the ratio of two functions of
    one affine variable that move in opposite ways is monotone.
    """

    lemma = "the perspective of the square is convex"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.mul(x[0], iv.reciprocal(x[1]))

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        a, b = (full(f.bits, s, node.shape) for f, s in zip(x, shapes, strict=True))
        below = x[1].interval
        if not x[1].varies:
            return when(below.positive | below.negative, scaled(a, below))
        direction = self.carrier(node, x, shapes)
        out = QUASILINEAR if direction is not None and direction[1] else 0
        return (
            out
            | when(below.nonnegative, _over_nonnegative(a, b, x[0]))
            | when(below.positive, _over_positive(a, b, x[0]))
        )

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return -1 if x[1].varies else x[0].degree

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        below = x[1].interval
        sign = 1 if _every(below.positive) else -1 if _every(below.negative) else 0
        if not x[1].varies and shapes[0] == node.shape and x[0].carrier is not None:
            return x[0].carrier[0], x[0].carrier[1] * sign
        pair = same_carrier(x, shapes)
        if pair is None:
            return None
        turn = pair[1] * sign  # of f' / g, which must agree with that of -f g' / g^2
        return pair[0], turn if turn == -pair[2] * _sign(x[0].interval) else 0

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        low, high = x[1].interval.hull
        if low < 0 < high or (low == 0 and not x[1].varies):
            return f"the denominator ranges over {x[1].interval} and may be zero"
        return "a ratio whose denominator depends on the parameters has no fixed curvature"


def _over_nonnegative(a: Bits, b: Bits, numerator: Facts) -> Bits:
    """g >= 0, extended by +inf where it vanishes: f^2/g convex; c/g convex for c >= 0; log-claims."""
    concave = (b & CONCAVE) >> 1
    out = ((a & ROOTCONVEX) >> 6) & concave
    logs = ((a & LOGCONVEX) & ((b & LOGCONCAVE) >> 1)) | ((a & LOGCONCAVE) & ((b & LOGCONVEX) << 1))
    if not numerator.varies:
        out = out | when(numerator.interval.nonnegative, concave)
        logs = logs | when(numerator.interval.nonpositive, concave * CONCAVE)
    return out * CONVEX | logs


def _over_positive(a: Bits, b: Bits, numerator: Facts) -> Bits:
    """g > 0: ratios of one sign are quasiconvex or quasiconcave; 1/g exchanges the quasi claims of g."""
    sign = numerator.interval
    f_convex, f_concave = a & CONVEX, (a & CONCAVE) >> 1
    g_convex, g_concave = b & CONVEX, (b & CONCAVE) >> 1
    affine = f_convex & f_concave & g_convex & g_concave
    valley = affine | when(sign.nonnegative, f_convex & g_concave) | when(sign.nonpositive, f_convex & g_convex)
    hill = affine | when(sign.nonnegative, f_concave & g_convex) | when(sign.nonpositive, f_concave & g_concave)
    out = valley * QCONVEX | hill * QCONCAVE
    if not numerator.varies:
        out = out | when(sign.nonnegative, negate(b) & QUASILINEAR) | when(sign.nonpositive, b & QUASILINEAR)
    return out


@register("maximum")
@final
class Maximum(Rule):
    """max(f, g): the epigraph is an intersection [BV04 3.2.3]; the same for sublevel sets and for log f and sqrt f."""

    lemma = "a maximum of convex functions is convex"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        if x[0].uniform and x[1].uniform:
            (al, ah), (bl, bh) = x[0].hull, x[1].hull
            return Interval(max(al, bl), max(ah, bh))
        return Interval(np.maximum(x[0].lower, x[1].lower), np.maximum(x[0].upper, x[1].upper))

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        a, b = (full(f.bits, s, node.shape) for f, s in zip(x, shapes, strict=True))
        out = a & b & (CONVEX | QCONVEX | LOGCONVEX | ROOTCONVEX)
        first, second = x[0].interval.lower >= x[1].interval.upper, x[1].interval.lower >= x[0].interval.upper
        out = out | when(first, a) | when(second, b)
        if not x[1].varies:
            out = out | (a & QUASILINEAR)  # max(., c) is nondecreasing
        if not x[0].varies:
            out = out | (b & QUASILINEAR)
        pair = self.carrier(node, x, shapes)
        return out | QUASILINEAR if pair is not None and pair[1] != 0 else out

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        for f, c, s in ((x[0], x[1], shapes[0]), (x[1], x[0], shapes[1])):
            if not c.varies and s == node.shape:
                return f.carrier
        pair = same_carrier(x, shapes)
        return None if pair is None else (pair[0], pair[1] if pair[1] == pair[2] else 0)

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "a maximum keeps convexity only, and an operand is not convex"
