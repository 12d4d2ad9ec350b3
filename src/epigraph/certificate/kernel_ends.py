"""Values of elementary functions at float64 points, as float64 bounds from Arb balls at 128 bits.

At infinite points the value is the limit.  Far out, where a ball would need too large an exponent, a function that is
monotone there is bounded by its limit and its value at +-FAR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq

from epigraph.certificate import ballfunctions as balls
from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_numbers import INF, PRECISION, Array, fraction, rounded_down, rounded_up

Ends = tuple[float, float]  # bounds below and above one value
FAR = 1e5
MANY = 64

# values at -inf and at +inf
LIMITS: Mapping[str, tuple[float, float]] = {
    "exp": (0.0, INF), "log": (-INF, INF), "sqrt": (0.0, INF), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0),
    "softplus": (0.0, INF), "erf": (-1.0, 1.0), "log_ndtr": (-INF, 0.0), "xlogx": (0.0, INF),
    "silu": (0.0, INF), "gelu": (0.0, INF), "mish": (0.0, INF),
}  # fmt: skip
# closed ranges: a float bound of a ball near the edge must not leave them
IMAGES: Mapping[str, tuple[float, float]] = {
    "exp": (0.0, INF), "sqrt": (0.0, INF), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softplus": (0.0, INF),
    "erf": (-1.0, 1.0), "log_ndtr": (-INF, 0.0),
}  # fmt: skip
# exact values: f is at most that left of the point and at least that right of it
ANCHORS: Mapping[str, tuple[float, float]] = {
    "exp": (0.0, 1.0), "log": (1.0, 0.0), "sqrt": (1.0, 1.0), "sigmoid": (0.0, 0.5), "tanh": (0.0, 0.0),
    "erf": (0.0, 0.0), "atan": (0.0, 0.0), "xlogx": (1.0, 0.0), "silu": (0.0, 0.0),
    "gelu": (0.0, 0.0), "mish": (0.0, 0.0),
}  # fmt: skip
# functions that are monotone on (-inf, -FAR], and on [FAR, inf), with these limits there
FLAT_LEFT = {"exp", "sigmoid", "tanh", "softplus", "erf", "silu", "gelu", "mish"}
FLAT_RIGHT = {"exp", "sigmoid", "tanh", "erf", "log_ndtr"}


def ends(node: Node, x: Array) -> tuple[Array, Array]:
    """Bounds of f(x) for every entry: arrays below and above; equal points are computed once."""
    one = point_function(node)
    flat = np.asarray(x, dtype=np.float64).reshape(-1)
    distinct, place = np.unique(flat, return_inverse=True) if flat.size > MANY else (flat, np.arange(flat.size))
    with ctx.workprec(PRECISION):
        found = np.array([one(v) for v in distinct.tolist()], dtype=np.float64).reshape(-1, 2)
    spread = found[place.reshape(-1)]
    return spread[:, 0].reshape(np.shape(x)), spread[:, 1].reshape(np.shape(x))


def point_function(node: Node) -> Callable[[float], Ends]:
    """The function of a node at one point."""
    if node.op == "power":
        return lambda x: _power(node.attributes["exponent"], x)
    if node.op == "elu":
        return lambda x: _elu(node.attributes["alpha"], x)
    return lambda x: _anchored(node.op, x)


def _anchored(op: str, x: float) -> Ends:
    """Next to an exact value a ball at 128 bits may reach across it, as e^x does for x = 1e-300; the real value

    does not.
    """
    below, above = _atan(x) if op == "atan" else _named(op, x)
    if op in ANCHORS:
        point, value = ANCHORS[op]
        below = max(below, value) if x >= point else below
        above = min(above, value) if x <= point else above
    return below, above


def _named(op: str, x: float) -> Ends:
    if math.isinf(x):
        limit = LIMITS[op][x > 0]
        return limit, limit
    if op in ("log", "sqrt", "xlogx") and x <= 0:
        value = -INF if op == "log" else 0.0  # the value or limit at 0; below it there is none
        return value, value
    if x < -FAR and op in FLAT_LEFT:
        return _between(LIMITS[op][0], _named(op, -FAR))
    if x > FAR and op in FLAT_RIGHT:
        return _between(LIMITS[op][1], _named(op, FAR))
    if x < -FAR and op == "log_ndtr":
        return _log_ndtr_left(arb(x))
    low, high = IMAGES.get(op, (-INF, INF))
    found, above = ball_ends(balls.FUNCTIONS[op](arb(x)))
    return max(found, low), min(above, high)


def ball_ends(ball: arb) -> Ends:
    return rounded_down(ball), rounded_up(ball)


def _between(limit: float, other: Ends) -> Ends:
    return min(limit, other[0]), max(limit, other[1])


def _log_ndtr_left(x: arb) -> Ends:
    """phi(x)/|x| (1 - 1/x^2) <= Phi(x) <= phi(x)/|x| for x < 0 (Mills' ratio)."""
    top = -x * x / 2 - (-x * (2 * arb.pi()).sqrt()).log()
    return rounded_down(top - 2 / (x * x)), rounded_up(top)


def _atan(x: float) -> Ends:
    if math.isinf(x):
        half = arb.pi() / 2 if x > 0 else -arb.pi() / 2
        return ball_ends(half)
    return ball_ends(arb(x).atan())


def _power(exponent: fmpq, x: float) -> Ends:
    """x^p; at 0 with p < 0 the limit from the right, x at least 0 where p is no integer."""
    p = fraction(exponent)
    if p == 0:
        return 1.0, 1.0
    if x == 0 or math.isinf(x):
        large = (x != 0) == (p > 0)
        size = INF if large else 0.0
        value = -size if x < 0 and p % 2 == 1 else size
        return value, value
    return ball_ends(balls.power(exponent)(arb(x)))


def _elu(alpha: fmpq, x: float) -> Ends:
    if x >= 0:
        return x, x
    low = -arb(alpha) if x < -FAR else None
    if low is None:
        return ball_ends(arb(alpha) * arb(x).expm1())  # expm1 keeps its relative accuracy near 0
    return ball_ends(low.union(arb(alpha) * arb(-FAR).expm1()))


def piecewise_range(node: Node, low: float, high: float) -> tuple[Any, Any]:
    """Least and greatest value of a continuous piecewise polynomial on [low, high]: Fractions, or infinite floats."""
    knots = [-INF, *map(fraction, node.attributes["knots"]), INF]
    values: list[Fraction | float] = []
    for start, stop, piece in zip(knots, knots[1:], node.attributes["pieces"], strict=False):
        left, right = max(start, low), min(stop, high)
        if left > right:
            continue
        a, b, c = ([fraction(v) for v in piece] + [Fraction(0)] * 2)[:3]
        values += [_polynomial(a, b, c, left), _polynomial(a, b, c, right)]
        if c != 0 and left <= -b / (2 * c) <= right:
            values.append(a - b * b / (4 * c))
    return min(values), max(values)


def _polynomial(a: Fraction, b: Fraction, c: Fraction, x: Fraction | float) -> Fraction | float:
    if isinstance(x, float) and math.isinf(x):
        leading = c if c != 0 else b * (1 if x > 0 else -1)
        return a if leading == 0 else INF if leading > 0 else -INF
    exact = Fraction(x)
    return a + b * exact + c * exact * exact
