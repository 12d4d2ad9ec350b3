"""Exact comparisons of float64 bounds with sums, products and quotients, and float64 bounds of exact numbers.

``bound <= a * b`` is decided for the real product, never for the rounded one: correct rounding is monotone, so that a
float strictly below the rounded product is below the real one, and where both are equal the sign of the rounding error
decides.  Upper bounds are compared through negation.  Nothing here widens: an interval is accepted only if it contains.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq

Array = Any  # NDArray of float64, shape () where uniform
Mask = Any  # NDArray of bool

INF = math.inf
MAX = float(np.finfo(np.float64).max)
PRECISION = 128


def at_least_sum(bound: Array, a: Array, b: Array) -> Mask:
    """bound <= a + b, exactly.  No operand is +inf; -inf stands for no bound."""
    with np.errstate(invalid="ignore", over="ignore"):
        s = np.add(a, b)
        part = s - a
        error = (a - (s - part)) + (b - part)  # Knuth's TwoSum: exact where nothing overflows
    return (bound < s) | ((bound == s) & ((error >= 0) | np.isinf(s)))


def at_least_product(bound: Array, a: Array, b: Array) -> Mask:
    """bound <= a b, exactly, with 0 inf = 0; infinite operands are limits, bound is not +inf."""
    bound, a, b = np.broadcast_arrays(bound, a, b)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        p = np.multiply(a, b)
    p = np.where(np.isnan(p), 0.0, p)
    ok = np.asarray(bound < p)
    equal = np.asarray(bound == p) & ~ok
    if equal.any():
        ok = ok | equal & (np.isinf(p) | (a == 0) | (b == 0))
        rest = equal & ~ok
        if rest.any():
            ok = np.array(ok)
            ok[rest] = error_of_product(a[rest], b[rest], p[rest]) >= 0
    return ok


def error_of_product(a: Array, b: Array, p: Array) -> Array:
    """The sign of a b - p for p the rounded product, all finite (Dekker's TwoProduct; rationals near the ends)."""
    with np.errstate(all="ignore"):
        (ah, al), (bh, bl) = _halves(a), _halves(b)
        error = ((ah * bh - p) + ah * bl + al * bh) + al * bl
    far = ~((np.abs(a) < 2.0**900) & (np.abs(b) < 2.0**900) & (np.abs(p) > 2.0**-900) & (np.abs(p) < 2.0**900))
    for i in np.flatnonzero(far):
        exact = Fraction(float(a[i])) * Fraction(float(b[i])) - Fraction(float(p[i]))
        error[i] = float((exact > 0) - (exact < 0))
    return error


def _halves(x: Array) -> tuple[Array, Array]:
    """Veltkamp's splitting: x = high + low with at most 26 bits each."""
    c = 134217729.0 * x
    high = c - (c - x)
    return high, x - high


def at_least_total(bound: float, terms: list[float]) -> bool:
    """bound <= the sum of the terms, exactly; an infinite term is -inf and asks for bound = -inf."""
    if bound == -INF:
        return True
    if -INF in terms:
        return False
    try:
        return math.fsum([*terms, -bound]) >= 0  # fsum rounds the exact sum once, so that its sign is right
    except OverflowError:
        return sum(map(Fraction, terms), -Fraction(bound)) >= 0


def rounded_down(x: arb) -> float:
    """A float64 below every point of a ball; -inf for a ball that is not finite."""
    if not x.is_finite():
        return -INF
    low = x.lower()
    found = float(low)
    if found == INF:
        return MAX
    return found if found == -INF or arb(found) <= low else math.nextafter(found, -INF)


def rounded_up(x: arb) -> float:
    """A float64 above every point of a ball; inf for a ball that is not finite."""
    return -rounded_down(-x)


def fraction_down(value: Fraction) -> float:
    """The largest float64 that is at most an exact number."""
    try:
        found = float(value)
    except OverflowError:
        return MAX if value > 0 else -INF
    if abs(found) == INF:
        return MAX if value > 0 else -INF
    return found if Fraction(found) <= value else math.nextafter(found, -INF)


def fraction_up(value: Fraction) -> float:
    return -fraction_down(-value)


def fraction(value: fmpq) -> Fraction:
    return Fraction(int(value.p), int(value.q))


def root(sign: Callable[[arb], arb], low: float, high: float) -> arb:
    """A ball of radius near 2^-160 around the one zero in [low, high] of a function that is negative before it and

    positive after it, by bisection; every decision is a certified sign of a ball.
    """
    with ctx.workprec(2 * PRECISION):
        left, right = arb(low), arb(high)
        if not (sign(left) < 0 and sign(right) > 0):
            raise ArithmeticError("no change of sign")
        for _ in range(160):
            middle = (left + right) / 2
            value = sign(middle)
            if value < 0:
                left = middle
            elif value > 0:
                right = middle
            else:
                break
        return left.union(right)


def bracket(zero: arb) -> tuple[float, float]:
    """The float64 neighbours of a number inside a ball: every float is below the first, above the second, or one."""
    with ctx.workprec(2 * PRECISION):
        return rounded_down(zero), rounded_up(zero)
