r"""Slope and curvature of the functions of one variable on an interval, decided entry by entry.

A ``Curve`` says of f on [lo, hi] (masks, per entry): nondecreasing, nonincreasing, convex, concave, quasiconvex and
quasiconcave (``valley`` and ``hill``); and, where f >= 0, whether log f is convex or concave and whether sqrt f is
convex.  False means "not shown".  Points where f has no value (log 0, 1/0) are allowed at a closed end; nothing is
claimed on an interval that reaches beyond the domain.

Turning points and inflection points are bracketed by neighbouring float64 numbers, found by bisection with certified
signs of Arb balls, so that comparing an interval's ends with them decides the sign of f' or f'' there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from flint import arb, ctx

from epigraph.certificate import ballfunctions as balls
from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_numbers import (
    PRECISION,
    Array,
    Mask,
    bracket,
    fraction,
    fraction_down,
    fraction_up,
    root,
    rounded_down,
)

NO: Mask = np.False_
YES: Mask = np.True_


class Curve(NamedTuple):
    """Properties of one function on one interval (per entry)."""

    up: Mask = NO
    down: Mask = NO
    convex: Mask = NO
    concave: Mask = NO
    valley: Mask = NO  # quasiconvex
    log_convex: Mask = NO
    log_concave: Mask = NO
    root_convex: Mask = NO
    hill: Mask = NO  # quasiconcave


def _exp(node: Node, lo: Array, hi: Array) -> Curve:
    """f'' = f > 0; log f = x is affine; sqrt f = e^(x/2) is convex."""
    return Curve(up=YES, convex=YES, log_convex=YES, log_concave=YES, root_convex=YES)


def _log(node: Node, lo: Array, hi: Array) -> Curve:
    """f' = 1/x, f'' = -1/x^2 on x > 0, -inf at 0; where log x >= 0, the logarithm of a concave function is concave."""
    return Curve(up=lo >= 0, concave=lo >= 0, log_concave=lo >= 1)


def _sqrt(node: Node, lo: Array, hi: Array) -> Curve:
    """f'' = -x^(-3/2)/4; log f = (log x)/2 is concave."""
    return Curve(up=lo >= 0, concave=lo >= 0, log_concave=lo >= 0)


def _softplus(node: Node, lo: Array, hi: Array) -> Curve:
    """f' = s, f'' = s(1-s) > 0 with s = sigmoid(x); f f'' <= f'^2 since f = log(1 + e^x) <= e^x = s/(1-s)."""
    return Curve(up=YES, convex=YES, log_concave=YES)


def _sigmoid(node: Node, lo: Array, hi: Array) -> Curve:
    """f'' = s(1-s)(1-2s), of the sign of -x; log f = -log(1 + e^-x) is concave.

    (sqrt f)'' = sqrt(s) (1-s) (1-3s)/4, which is >= 0 where s <= 1/3, that is x <= -log 2.
    """
    return Curve(up=YES, convex=hi <= 0, concave=lo >= 0, log_concave=YES, root_convex=hi <= _minus_log_2())


@cache
def _minus_log_2() -> float:
    with ctx.workprec(PRECISION):
        return rounded_down(-arb(2).log())


def _odd_sigmoid(node: Node, lo: Array, hi: Array) -> Curve:
    """tanh'' = -2 tanh sech^2, erf'' = -2x erf', atan'' = -2x atan'^2: of the sign of -x; f >= 0 on x >= 0."""
    return Curve(up=YES, convex=hi <= 0, concave=lo >= 0, log_concave=lo >= 0)


def _log_ndtr(node: Node, lo: Array, hi: Array) -> Curve:
    """Phi integrates a log-concave density, so that log Phi is concave [BV04 3.5.2]."""
    return Curve(up=YES, concave=YES)


def _abs(node: Node, lo: Array, hi: Array) -> Curve:
    """max(x, -x); linear on either side of 0."""
    side = (lo >= 0) | (hi <= 0)
    return Curve(up=lo >= 0, down=hi <= 0, convex=YES, concave=side, log_concave=side)


def _relu(node: Node, lo: Array, hi: Array) -> Curve:
    """max(x, 0); linear on either side of 0; the logarithm of max(x, 0) is concave with -inf on x <= 0."""
    side = (lo >= 0) | (hi <= 0)
    return Curve(up=YES, down=hi <= 0, convex=YES, concave=side, log_concave=YES)


def _power(node: Node, lo: Array, hi: Array) -> Curve:
    """f' = p x^(p-1) and f'' = p(p-1) x^(p-2) by sign; on one side of 0, log |f| = p log |x| and sqrt |f| = |x|^(p/2).

    Even p >= 2: |x|^(p/2) is convex across 0 as well.  p < 0: +-inf at 0, a closed end of the interval only.
    """
    p = fraction(node.attributes["exponent"])
    right, left = np.asarray(lo >= 0), np.asarray(hi <= 0)
    if p == 0:
        return Curve(YES, YES, YES, YES, YES, YES, YES, YES)
    one_sided = right | left
    if p.denominator > 1:  # x >= 0 only
        bent, flat = (right, NO) if p > 1 or p < 0 else (NO, right)
        up, down = (right, NO) if p > 0 else (NO, right)
        logs = (NO, right) if p > 0 else (right, NO)
        return Curve(up, down, bent, flat, NO, *logs, right if p >= 2 or p < 0 else NO)
    if p < 0:
        positive = one_sided if p % 2 == 0 else right
        up, down = (left, right) if p % 2 == 0 else (NO, one_sided)
        return Curve(up, down, positive, NO if p % 2 == 0 else left, NO, positive, NO, positive)
    if p % 2 == 0:
        return Curve(right, left, YES, log_concave=one_sided, root_convex=YES)
    return Curve(YES, NO, YES if p == 1 else right, YES if p == 1 else left, log_concave=right,
                 root_convex=right if p >= 2 else NO)  # fmt: skip


def _elu(node: Node, lo: Array, hi: Array) -> Curve:
    """f'' = alpha e^x on x < 0 and 0 on x > 0; the slope goes from alpha to 1 at 0."""
    alpha = fraction(node.attributes["alpha"])
    right, left = np.asarray(lo >= 0), np.asarray(hi <= 0)
    up, down = (YES, left if alpha == 0 else NO) if alpha >= 0 else (right, left)
    convex = YES if 0 <= alpha <= 1 else right | left if alpha > 1 else right
    concave = right | (left if alpha <= 0 else NO)
    return Curve(up, down, convex, concave, valley=YES)


def _step(node: Node, lo: Array, hi: Array) -> Curve:
    """sign and floor are nondecreasing, and constant where they agree at both ends."""
    with np.errstate(invalid="ignore"):
        values = [np.sign(v) if node.op == "sign" else np.floor(v) for v in (lo, hi)]
    flat = np.asarray(values[0] == values[1])
    return Curve(YES, flat, flat, flat)


def _xlogx(node: Node, lo: Array, hi: Array) -> Curve:
    """f' = log x + 1, f'' = 1/x > 0 on x > 0, 0 at 0; on x >= 1, log x + log log x is concave."""
    below, above = turn("xlogx")
    return Curve(lo >= above, (lo >= 0) & (hi <= below), convex=lo >= 0, log_concave=lo >= 1)


def _bump(node: Node, lo: Array, hi: Array) -> Curve:
    """silu, gelu and mish fall to one minimum and rise after it; f'' >= 0 exactly between two inflection points.

    They are x s(x) with a log-concave s > 0, so log-concave on x >= 0: sigmoid, Phi, and T = v(v+2)/D with v = e^x and
    D = v^2 + 2v + 2, where (log T)'' = 2v/(v+2)^2 - 2v(v^2+4v+2)/D^2 <= 0 as D^2 <= (v^2+4v+2)(v+2)^2, coefficient by
    coefficient: 1, 4, 8, 8, 4 against 1, 8, 22, 24, 8.
    """
    below, above = turn(node.op)
    (left_below, left_above), (right_below, right_above) = knees(node.op)
    return Curve(lo >= above, hi <= below, (lo >= left_above) & (hi <= right_below),
                 (hi <= left_below) | (lo >= right_above), valley=YES, log_concave=lo >= 0)  # fmt: skip


# slope and curvature of the bumps: functions with the sign of f', and with the sign of f'' ---------------------------


def _silu_slope(x: arb) -> arb:
    """f' = s(1-s) (1 + e^x + x) with s = sigmoid(x): the bracket increases."""
    return 1 + x.exp() + x


def _silu_knee(x: arb) -> arb:
    """f'' = s(1-s) (2 - x tanh(x/2)), and x tanh(x/2) is even and increases with |x|."""
    return x * (x / 2).tanh() - 2


def _gelu_slope(x: arb) -> arb:
    """f' = phi (Phi/phi + x); for x < 0 the bracket increases: its slope is 2 + x Phi/phi > 1 by |x| Phi < phi."""
    return (-x / arb(2).sqrt()).erfc() / 2 + x * (-x * x / 2).exp() / (2 * arb.pi()).sqrt()


def _gelu_knee(x: arb) -> arb:
    """f'' = phi(x) (2 - x^2)."""
    return x * x - 2


def _mish_slope(x: arb) -> arb:
    """f' = v(v+1)/D^2 ((v+2) D/(v+1) + 4x) with v = e^x and D = v^2 + 2v + 2.

    (v+2) D/(v+1) increases in v: the numerator of its derivative is 2v^3 + 7v^2 + 8v + 2.
    """
    v = x.exp()
    return (v + 2) * (v * v + 2 * v + 2) + 4 * x * (v + 1)


def _mish_knee(x: arb) -> arb:
    """-f'' D^3 / (4v), that is -(P + x q) with P = 2(v+1)D, q = -2v^3 - 3v^2 + 2v + 2 and v = e^x.

    q has one positive zero v0 < 1 (one change of sign), and P/q increases on either side of it: the numerator of its
    derivative is 6v^4 + 40v^3 + 72v^2 + 48v + 8.  So (P + x q)/q increases on x < log v0, where q > 0, from -inf to
    inf, and on x > log v0, where q < 0, from -inf to inf: P + x q is negative, positive, negative, with one zero on
    either side of log v0, which lies in (-1, 0).
    """
    v = x.exp()
    return -(2 * (v + 1) * (v * v + 2 * v + 2) + x * (2 + 2 * v - 3 * v * v - 2 * v * v * v))


_SLOPES: Mapping[str, tuple[Callable[[arb], arb], float, float]] = {
    "xlogx": (lambda x: x.log() + 1, 0.25, 0.5), "silu": (_silu_slope, -2.0, -1.0), "gelu": (_gelu_slope, -1.0, -0.5),
    "mish": (_mish_slope, -2.0, -1.0),
}  # fmt: skip
_KNEES: Mapping[str, tuple[Callable[[arb], arb], float, float]] = {
    "silu": (_silu_knee, 1.0, 4.0), "gelu": (_gelu_knee, 1.0, 2.0), "mish": (_mish_knee, 0.0, 4.0),
}  # fmt: skip


@cache
def turn_ball(op: str) -> arb:
    """The minimum point of xlogx, silu, gelu or mish."""
    return root(*_SLOPES[op])


@cache
def turn(op: str) -> tuple[float, float]:
    """The floats around it: f' <= 0 up to the first, f' >= 0 from the second."""
    return bracket(turn_ball(op))


@cache
def least(op: str) -> float:
    """A float64 below the minimum."""
    with ctx.workprec(PRECISION):
        return rounded_down(balls.FUNCTIONS[op](turn_ball(op)))


@cache
def knees(op: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """The floats around the left and around the right inflection point."""
    sign, low, high = _KNEES[op]
    right = bracket(root(sign, low, high))
    if op == "mish":
        return bracket(root(lambda x: -sign(x), -4.0, -1.0)), right
    return (-right[1], -right[0]), right  # f'' is even


# sine and cosine -----------------------------------------------------------------------------------------------------


def _wave(node: Node, lo: Array, hi: Array) -> Curve:
    """sin rises on quadrants -1 to 1 and falls on 1 to 3, is concave on 0 to 2 and convex on 2 to 4 (modulo 4)."""
    first, last = quadrants(node.op, lo)[0], quadrants(node.op, hi)[1]

    def inside(start: int) -> Mask:
        with np.errstate(invalid="ignore"):
            return np.asarray(last <= np.floor((first - start) / 4) * 4 + start + 2)  # False where unknown (nan)

    return Curve(inside(-1), inside(1), inside(2), inside(0))


def quadrants(op: str, x: Array) -> tuple[Array, Array]:
    """Floor and ceiling of x/(pi/2), plus 1 for the cosine; nan where x is infinite or above 1e15."""

    def place(v: float) -> tuple[float, float]:
        if v == 0:
            return 0.0, 0.0
        if not abs(v) < 1e15:
            return np.nan, np.nan
        found = (arb(v) * 2 / arb.pi()).floor()
        return (float(found), float(found) + 1) if found.rad() == 0 else (np.nan, np.nan)

    with ctx.workprec(PRECISION):
        pairs = [place(v) for v in np.asarray(x).reshape(-1).tolist()]
    found = np.array(pairs).reshape(-1, 2) + (1 if op == "cos" else 0)
    return found[:, 0].reshape(np.shape(x)), found[:, 1].reshape(np.shape(x))


# piecewise polynomials -----------------------------------------------------------------------------------------------


def _piecewise(node: Node, lo: Array, hi: Array) -> Curve:
    """Pieces that the interval meets in more than a point decide, with the jumps of f' at the knots strictly inside.

    f' = b + 2cx on a piece is linear, so that its signs at the two ends of the part met decide.  f falls, then rises,
    where no part with f' < 0 comes after one with f' > 0.
    """
    knots = [fraction(k) for k in node.attributes["knots"]]
    pieces = [([fraction(c) for c in p] + [Fraction(0)] * 2)[:3] for p in node.attributes["pieces"]]
    ends: list[Any] = [-np.inf, *knots, np.inf]
    up = down = convex = concave = valley = hill = np.ones(np.broadcast(lo, hi).shape, dtype=bool)
    risen = fallen = ~up
    for start, stop, (_, b, c) in zip(ends, ends[1:], pieces, strict=False):
        met = (lo < _ceil(stop)) & (hi > _floor(start))  # exactly: lo < stop and hi > start
        rises, falls = _signs(b, c, lo, hi, start, stop)
        up, down = up & (rises | ~met), down & (falls | ~met)
        convex, concave = convex & (~met | (c >= 0)), concave & (~met | (c <= 0))
        somewhere_up, somewhere_down = met & ~falls, met & ~rises
        valley = valley & ~(somewhere_down & (risen | (somewhere_up & (c < 0))))
        hill = hill & ~(somewhere_up & (fallen | (somewhere_down & (c > 0))))
        risen, fallen = risen | somewhere_up, fallen | somewhere_down
    for knot, (_, b, c), (_, b1, c1) in zip(knots, pieces, pieces[1:], strict=False):
        inside = (lo < _ceil(knot)) & (hi > _floor(knot))
        jump = b1 + 2 * c1 * knot - b - 2 * c * knot
        convex, concave = convex & (~inside | (jump >= 0)), concave & (~inside | (jump <= 0))
    return Curve(up, down, convex, concave, valley, hill=hill)


def _ceil(x: Any) -> float:
    """The least float64 that is at least a Fraction x: for floats v, v < x exactly where v < _ceil(x)."""
    return x if isinstance(x, float) else fraction_up(x)


def _floor(x: Any) -> float:
    return x if isinstance(x, float) else fraction_down(x)


def _signs(b: Fraction, c: Fraction, lo: Array, hi: Array, start: Any, stop: Any) -> tuple[Mask, Mask]:
    """Is b + 2cx >= 0, and <= 0, on [max(lo, start), min(hi, stop)]?"""
    if c == 0:
        return np.bool_(b >= 0), np.bool_(b <= 0)
    zero = -b / (2 * c)
    above = (lo >= _ceil(zero)) | np.bool_(start >= zero)  # the part met lies above the zero of f'
    below = (hi <= _floor(zero)) | np.bool_(stop <= zero)
    return (above, below) if c > 0 else (below, above)


CURVES: Mapping[str, Callable[[Node, Array, Array], Curve]] = {
    "exp": _exp, "log": _log, "sqrt": _sqrt, "softplus": _softplus, "sigmoid": _sigmoid, "tanh": _odd_sigmoid,
    "erf": _odd_sigmoid, "atan": _odd_sigmoid, "log_ndtr": _log_ndtr, "abs": _abs, "relu": _relu, "power": _power,
    "elu": _elu, "sign": _step, "floor": _step, "xlogx": _xlogx, "silu": _bump, "gelu": _bump, "mish": _bump,
    "sin": _wave, "cos": _wave, "piecewise": _piecewise,
}  # fmt: skip
