"""Interval tensors: float64 bounds rounded outward, uniform ones held as two Python floats.

Every operation returns bounds that contain the real result for all real arguments inside the given bounds.  Sums,
products and quotients are rounded by one unit in the last place; elementary functions of NumPy and PyTorch are
assumed accurate to ``LIBM`` units, which a test backs against Arb (the assumption is named in every proof).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

Bound = float | NDArray[np.float64]
Mask = bool | NDArray[np.bool_]

INF = math.inf
LIBM = 8  # assumed accuracy of elementary functions, in units in the last place
MAX = float(np.finfo(np.float64).max)
_ULP = 2.0**-52


@final
class Interval:
    """Bounds lower <= value <= upper, each a float (uniform) or an array that broadcasts to the tensor's shape."""

    __slots__ = ("lower", "upper")

    def __init__(self, lower: Bound, upper: Bound):
        self.lower, self.upper = lower, upper

    @staticmethod
    def point(value: Bound) -> Interval:
        return Interval(value, value)

    @property
    def uniform(self) -> bool:
        return isinstance(self.lower, float) and isinstance(self.upper, float)

    @property
    def hull(self) -> tuple[float, float]:
        """The least and the greatest bound over all entries."""
        low = self.lower if isinstance(self.lower, float) else float(np.min(self.lower, initial=INF))
        high = self.upper if isinstance(self.upper, float) else float(np.max(self.upper, initial=-INF))
        return low, high

    @property
    def nonnegative(self) -> Mask:
        return self.lower >= 0

    @property
    def nonpositive(self) -> Mask:
        return self.upper <= 0

    @property
    def positive(self) -> Mask:
        return self.lower > 0

    @property
    def negative(self) -> Mask:
        return self.upper < 0

    @property
    def finite(self) -> bool:
        low, high = self.hull
        return low > -INF and high < INF

    def within(self, low: float, high: float) -> Mask:
        """Entries whose whole interval lies in [low, high]."""
        return (self.lower >= low) & (self.upper <= high)

    def arrays(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.broadcast_to(self.lower, shape), np.broadcast_to(self.upper, shape)

    def map(self, layout: Callable[[NDArray[np.float64]], NDArray[np.float64]], shape: tuple[int, ...]) -> Interval:
        """Move entries; a uniform interval stays as it is."""
        if self.uniform:
            return self
        low, high = self.lower, self.upper
        if low is high:
            moved = layout(np.broadcast_to(low, shape))
            return Interval(moved, moved)
        return Interval(layout(np.broadcast_to(low, shape)), layout(np.broadcast_to(high, shape)))

    def __repr__(self) -> str:
        return "[{:.6g}, {:.6g}]".format(*self.hull)


WHOLE = Interval(-INF, INF)
NONNEGATIVE = Interval(0.0, INF)


def down(value: Bound) -> Bound:
    """The next float64 below; NaN (inf - inf) becomes -inf."""
    if isinstance(value, float):
        return -INF if value != value else math.nextafter(value, -INF)
    return np.nextafter(np.where(np.isnan(value), -INF, value), -INF)


def up(value: Bound) -> Bound:
    """The next float64 above; NaN becomes inf."""
    if isinstance(value, float):
        return INF if value != value else math.nextafter(value, INF)
    return np.nextafter(np.where(np.isnan(value), INF, value), INF)


def widen(lower: Bound, upper: Bound, units: float = LIBM, absolute: float = 0.0) -> Interval:
    """Outward by some units in the last place of each bound, and by an absolute amount."""
    tiny = absolute + 2.0**-1070
    low = lower - (abs(lower) * (units * _ULP) + tiny)
    high = upper + (abs(upper) * (units * _ULP) + tiny)
    return Interval(_settle(low, lower, -INF), _settle(high, upper, INF))


def _settle(value: Bound, original: Bound, limit: float) -> Bound:
    """inf - inf came from an infinite bound, which stays; NaN becomes the limit."""
    if isinstance(value, float) and isinstance(original, float):
        return value if value == value else (original if math.isinf(original) else limit)
    fixed = np.where(np.isnan(value), np.where(np.isinf(original), original, limit), value)
    return fixed


def clip(x: Interval, low: float, high: float) -> Interval:
    """Intersect with a known range."""
    if x.uniform:
        return Interval(max(x.lower, low), min(x.upper, high))  # type: ignore[type-var]
    return Interval(np.maximum(x.lower, low), np.minimum(x.upper, high))


def intersect(x: Interval, y: Interval) -> Interval:
    if x.uniform and y.uniform:
        return Interval(max(x.lower, y.lower), min(x.upper, y.upper))  # type: ignore[type-var]
    return Interval(np.maximum(x.lower, y.lower), np.minimum(x.upper, y.upper))


def join(x: Interval, y: Interval) -> Interval:
    """The hull of both, entry by entry."""
    if x.uniform and y.uniform:
        return Interval(min(x.lower, y.lower), max(x.upper, y.upper))  # type: ignore[type-var]
    return Interval(np.minimum(x.lower, y.lower), np.maximum(x.upper, y.upper))


def add(x: Interval, y: Interval) -> Interval:
    """x + y; a sum that float64 holds exactly is not widened."""
    with np.errstate(invalid="ignore", over="ignore"):
        return Interval(_sum(x.lower, y.lower, down), _sum(x.upper, y.upper, up))


def _sum(a: Bound, b: Bound, outward: Callable[[Bound], Bound]) -> Bound:
    """Knuth's two-sum tells whether the rounded sum is the exact one."""
    s = a + b
    part = s - a
    error = (a - (s - part)) + (b - part)
    if isinstance(s, float):
        return s if error == 0.0 else outward(s)
    return np.where(error == 0.0, s, outward(s))


def neg(x: Interval) -> Interval:
    return Interval(-x.upper, -x.lower)


def _product(a: Bound, b: Bound) -> Bound:
    """a b with 0 inf = 0, since the values themselves are finite."""
    if isinstance(a, float) and isinstance(b, float):
        return 0.0 if a == 0.0 or b == 0.0 else a * b
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        product = np.multiply(a, b)
    return np.where(np.isnan(product), 0.0, product)


def mul(x: Interval, y: Interval) -> Interval:
    if x.uniform and y.uniform:
        return _mul_scalars(x, y)
    if x.lower is x.upper:
        x, y = y, x
    corners = [_product(a, b) for b in ((y.lower,) if y.lower is y.upper else (y.lower, y.upper))
               for a in ((x.lower,) if x.lower is x.upper else (x.lower, x.upper))]
    low, high = corners[0], corners[0]
    for corner in corners[1:]:
        low, high = np.minimum(low, corner), np.maximum(high, corner)
    if len(corners) == 1 and _short(x.lower) and _short(y.lower) and bool(np.all((low == 0) | (np.abs(low) > 1e-280))):
        return Interval.point(low)
    same = ((x.lower >= 0) & (y.lower >= 0)) | ((x.upper <= 0) & (y.upper <= 0))
    opposite = ((x.lower >= 0) & (y.upper <= 0)) | ((x.upper <= 0) & (y.lower >= 0))
    return Interval(np.where(same, np.maximum(down(low), 0.0), down(low)), np.where(opposite, np.minimum(up(high), 0.0), up(high)))


def _mul_scalars(x: Interval, y: Interval) -> Interval:
    (xl, xu), (yl, yu) = x.hull, y.hull
    corners = [_product(a, b) for a in (xl, xu) for b in (yl, yu)]
    low, high = min(corners), max(corners)  # type: ignore[type-var]
    if all(_short(v) for v in (xl, xu, yl, yu)) and all(c == 0 or abs(c) > 1e-280 for c in corners):
        return Interval(low, high)
    same = (xl >= 0 and yl >= 0) or (xu <= 0 and yu <= 0)
    opposite = (xl >= 0 and yu <= 0) or (xu <= 0 and yl >= 0)
    low, high = down(low), up(high)
    return Interval(max(low, 0.0) if same else low, min(high, 0.0) if opposite else high)  # type: ignore[type-var]


def _short(value: Bound) -> bool:
    """At most 24 significant bits, so that products of two such numbers are exact in float64."""
    if isinstance(value, float):
        return value == 0.0 or math.isinf(value) or math.ldexp(math.frexp(value)[0], 24).is_integer()
    if value.size > 100_000:
        return False
    return bool(np.all(np.ldexp(np.frexp(value)[0], 24) % 1 == 0))


def reciprocal(x: Interval) -> Interval:
    """1/x where x > 0 or x < 0 (a closed end at zero gives an infinite bound); the whole line elsewhere."""
    if x.uniform:
        low, high = x.hull
        if low >= 0:
            return Interval(max(down(1 / high), 0.0) if high else 0.0, up(1 / low) if low else INF)
        if high <= 0:
            return Interval(down(1 / high) if high else -INF, min(up(1 / low), 0.0) if low else 0.0)
        return WHOLE
    with np.errstate(divide="ignore"):
        inverse = down(1 / np.asarray(x.upper, dtype=np.float64)), up(1 / np.asarray(x.lower, dtype=np.float64))
    positive, negative = x.lower >= 0, x.upper <= 0
    low = np.where(positive, np.maximum(inverse[0], 0.0), np.where(negative, np.where(x.upper == 0, -INF, inverse[0]), -INF))
    high = np.where(positive, np.where(x.lower == 0, INF, inverse[1]), np.where(negative, np.minimum(inverse[1], 0.0), INF))
    return Interval(low, high)


def total(x: Interval, axes: tuple[int, ...], shape: tuple[int, ...]) -> Interval:
    """Sum over axes, with the error bound of any order of summation."""
    count = math.prod(shape[a] for a in axes)
    if x.uniform:
        return mul(x, Interval.point(float(count)))
    slack = (count + 4) * _ULP
    bounds = []
    for values, sign in ((x.lower, -1), (x.upper, 1)):
        full = np.broadcast_to(values, shape)
        with np.errstate(invalid="ignore", over="ignore"):
            plain, size = full.sum(axes), np.abs(full).sum(axes)
            moved = plain + sign * (slack * size + 2.0**-1060)
        bounds.append(np.where(np.isfinite(moved), moved, np.where(plain == -sign * INF, -sign * MAX, sign * INF)))
    nonnegative = np.broadcast_to(x.lower >= 0, shape).all(axes)
    nonpositive = np.broadcast_to(x.upper <= 0, shape).all(axes)
    return Interval(np.where(nonnegative, np.maximum(bounds[0], 0.0), bounds[0]),
                    np.where(nonpositive, np.minimum(bounds[1], 0.0), bounds[1]))


def monotone(x: Interval, function: Callable[[Bound], Bound], increasing: bool = True, units: float = LIBM,
             absolute: float = 0.0) -> Interval:
    """Range of a monotone function from its values at the bounds."""
    with np.errstate(all="ignore"):
        ends = [_number(function(b)) for b in (x.lower, x.upper)]
    low, high = ends if increasing else ends[::-1]
    return widen(low, high, units, absolute)


def _number(value: Bound) -> Bound:
    return float(value) if np.ndim(value) == 0 else np.asarray(value, dtype=np.float64)


def product_bounds(a: Interval, b: Interval, shapes: Sequence[tuple[int, ...]]) -> Interval:
    """Matrix product: signs where a bound is infinite, midpoint and radius with the gamma_n bound otherwise."""
    signs = sign_of_product(a, b)
    if not (a.finite and b.finite):
        return signs
    (sa, sb) = shapes
    n = sa[-1]
    if math.prod(sa) * sb[-1] > 2e9:
        bound = n * max(map(abs, a.hull)) * max(map(abs, b.hull)) * (1 + 1e-9)
        return intersect(signs, Interval(-bound, bound))
    (am, ar), (bm, br) = _midpoint(a, sa), _midpoint(b, sb)
    centre = am @ bm
    aa, ba = np.abs(am), np.abs(bm)
    radius = aa @ br + ar @ (ba + br) + (n + 8) * _ULP * (aa @ ba)
    radius = radius * (1 + (n + 8) * _ULP) + 2.0**-1000
    return intersect(signs, Interval(down(centre - radius), up(centre + radius)))


def _midpoint(x: Interval, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = x.arrays(shape)
    if x.lower is x.upper:
        return low, np.zeros(shape)
    middle = low + (high - low) / 2
    return middle, np.maximum(up(high - middle), up(middle - low))


def sign_of_product(a: Interval, b: Interval) -> Interval:
    """What the signs alone say about sums of products."""
    (al, ah), (bl, bh) = a.hull, b.hull
    if (al >= 0 and bl >= 0) or (ah <= 0 and bh <= 0):
        return NONNEGATIVE
    if (al >= 0 and bh <= 0) or (ah <= 0 and bl >= 0):
        return Interval(-INF, 0.0)
    return WHOLE
