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
        return span(*self.hull, digits=6)

    def __str__(self) -> str:
        return span(*self.hull)


def span(low: float, high: float, digits: int = 3) -> str:
    """The interval in writing, open at its infinite ends: ``(-inf, 2]``."""
    left, right = "(" if low == -INF else "[", ")" if high == INF else "]"
    return f"{left}{low:.{digits}g}, {high:.{digits}g}{right}"


WHOLE = Interval(-INF, INF)


def down(value: Bound) -> Bound:
    """The next float64 below; NaN (inf - inf) becomes -inf."""
    if isinstance(value, float):
        return -INF if value != value else math.nextafter(value, -INF)
    with np.errstate(over="ignore"):
        return np.nextafter(np.where(np.isnan(value), -INF, value), -INF)


def up(value: Bound) -> Bound:
    """The next float64 above; NaN becomes inf."""
    if isinstance(value, float):
        return INF if value != value else math.nextafter(value, INF)
    with np.errstate(over="ignore"):
        return np.nextafter(np.where(np.isnan(value), INF, value), INF)


def least(value: Bound) -> Bound:
    """A computed number as a lower bound: NaN says nothing, and a real number that overflowed is at least MAX."""
    if isinstance(value, float):
        return -INF if value != value else min(value, MAX)
    return np.minimum(np.where(np.isnan(value), -INF, value), MAX)


def greatest(value: Bound) -> Bound:
    """A computed number as an upper bound."""
    if isinstance(value, float):
        return INF if value != value else max(value, -MAX)
    return np.maximum(np.where(np.isnan(value), INF, value), -MAX)


def widen(lower: Bound, upper: Bound, units: float = LIBM, absolute: float = 0.0) -> Interval:
    """Outward by some units in the last place of each bound, and by an absolute amount; one unit more for rounding."""
    share, tiny = (units + 1) * _ULP, absolute + 2.0**-1070
    low, high = least(lower), greatest(upper)
    with np.errstate(over="ignore"):
        return Interval(low - (abs(low) * share + tiny), high + (abs(high) * share + tiny))


def clip(x: Interval, low: float, high: float) -> Interval:
    """Intersect with a known range."""
    if x.uniform:
        return Interval(max(x.lower, low), min(x.upper, high))  # type: ignore[type-var]
    return Interval(np.maximum(x.lower, low), np.minimum(x.upper, high))


def pin(x: Interval, out: Interval, point: float, value: float) -> Interval:
    """Use f >= value right of the point and f <= value left of it, exactly, where rounding would lose it."""
    if x.uniform and out.uniform:
        low = max(out.lower, value) if x.lower >= point else out.lower  # type: ignore[type-var]
        return Interval(low, min(out.upper, value) if x.upper <= point else out.upper)  # type: ignore[type-var]
    return Interval(
        np.where(x.lower >= point, np.maximum(out.lower, value), out.lower),
        np.where(x.upper <= point, np.minimum(out.upper, value), out.upper),
    )


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
    """x y; corners that float64 holds exactly are not widened, and a bound on the sign is kept."""
    corners = [(a, b, _product(a, b)) for a in _ends(x) for b in _ends(y)]
    products, exact = [c for _, _, c in corners], [_exact(*corner) for corner in corners]
    same = (x.nonnegative & y.nonnegative) | (x.nonpositive & y.nonpositive)
    opposite = (x.nonnegative & y.nonpositive) | (x.nonpositive & y.nonnegative)
    if x.uniform and y.uniform:
        low = min(c if e else down(c) for c, e in zip(products, exact, strict=True))
        high = max(c if e else up(c) for c, e in zip(products, exact, strict=True))
        return Interval(least(max(low, 0.0) if same else low), greatest(min(high, 0.0) if opposite else high))
    low, high = _outermost(products, exact, np.minimum, down, INF), _outermost(products, exact, np.maximum, up, -INF)
    return Interval(np.where(same, np.maximum(low, 0.0), low), np.where(opposite, np.minimum(high, 0.0), high))


def _ends(x: Interval) -> tuple[Bound, ...]:
    return (x.lower,) if x.lower is x.upper else (x.lower, x.upper)


def _outermost(
    products: Sequence[Bound], exact: Sequence[Mask], pick: np.ufunc, outward: Callable[[Bound], Bound], limit: float
) -> Bound:
    """The outermost corner: the exact ones as they are, the rounded ones moved outward by one unit."""
    held, rounded = limit, limit
    for product, e in zip(products, exact, strict=True):
        held, rounded = pick(held, np.where(e, product, limit)), pick(rounded, np.where(e, limit, product))
    return pick(held, outward(rounded))


def _exact(a: Bound, b: Bound, product: Bound) -> Mask:
    """Is the product exact?  A factor is zero or an infinite bound, or the significant bits fit into 53."""
    whole = (a == 0) | (b == 0) | (abs(a) == INF) | (abs(b) == INF)
    if np.size(product) > 100_000:
        return whole
    p, q = significant(a), significant(b)
    return whole | ((p == 1) | (q == 1) | (p + q <= 53)) & (abs(product) > 1e-300) & (abs(product) <= MAX)


def significant(value: Bound) -> int | NDArray[np.int64]:
    """The number of bits from the first to the last one that is set; 0 for 0 and for infinite bounds."""
    if isinstance(value, float):
        whole = 0 if math.isinf(value) else abs(value.as_integer_ratio()[0])
        return (whole // (whole & -whole)).bit_length() if whole else 0
    finite = np.where(np.isinf(value), 0.0, value)
    scaled = np.abs(np.ldexp(np.frexp(finite)[0], 53)).astype(np.int64)
    last = np.frexp((scaled & -scaled).astype(np.float64))[1]
    return np.where(scaled == 0, 0, 54 - last)


def plain(value: Bound) -> Bound:
    """An array without dimensions as a float."""
    return float(value) if np.ndim(value) == 0 else value


def reciprocal(x: Interval) -> Interval:
    """1/x where x > 0 or x < 0 (a closed end at zero gives an infinite bound); the whole line elsewhere."""
    if x.uniform:
        low, high = x.hull
        if low >= 0:
            return Interval(max(down(1 / high), 0.0) if high else 0.0, up(1 / low) if low else INF)
        if high <= 0:
            return Interval(down(1 / high) if high else -INF, min(up(1 / low), 0.0))
        return WHOLE
    with np.errstate(divide="ignore", over="ignore"):
        below, above = down(1 / np.asarray(x.upper, np.float64)), up(1 / np.asarray(x.lower, np.float64))
    zero = x.nonnegative & x.nonpositive
    low = np.where(zero, 0.0, np.where(x.nonnegative, np.maximum(below, 0.0), np.where(x.negative, below, -INF)))
    left = np.where(x.nonpositive & ~np.asarray(zero), np.minimum(above, 0.0), INF)
    return Interval(low, np.where(x.positive, above, left))


def total(x: Interval, axes: tuple[int, ...], shape: tuple[int, ...]) -> Interval:
    """Sum over axes, with the error bound of any order of summation; exact where all terms are multiples of 2^-20."""
    count = math.prod(shape[a] for a in axes)
    if x.uniform:
        return mul(x, Interval.point(float(count)))
    low = _sum_over(np.broadcast_to(x.lower, shape), axes, -1, count)
    high = _sum_over(np.broadcast_to(x.upper, shape), axes, 1, count)
    nonnegative = np.broadcast_to(x.nonnegative, shape).all(axes)
    nonpositive = np.broadcast_to(x.nonpositive, shape).all(axes)
    low = np.where(nonnegative, np.maximum(low, 0.0), low)
    return Interval(low, np.where(nonpositive, np.minimum(high, 0.0), high))


def _sum_over(values: NDArray[np.float64], axes: tuple[int, ...], sign: int, count: int) -> NDArray[np.float64]:
    """The sum moved by its error in the direction of the sign; infinite where float64 cannot hold a partial sum."""
    with np.errstate(invalid="ignore", over="ignore"):
        near, size = values.sum(axes), np.abs(values).sum(axes)
        moved = near + sign * ((count + 4) * _ULP * size + 2.0**-1060)
        scaled = values * 2.0**20
        exact = (scaled == np.rint(scaled)).all(axes) & (size < 2.0**32)
    return np.where(exact, near, np.where(np.isfinite(moved), moved, sign * INF))


def monotone(
    x: Interval, function: Callable[[Bound], Bound], increasing: bool = True, units: float = LIBM, absolute: float = 0.0
) -> Interval:
    """Range of a monotone function from its values at the bounds."""
    with np.errstate(all="ignore"):
        ends = [plain(function(b)) for b in (x.lower, x.upper)]
    low, high = ends if increasing else ends[::-1]
    return widen(low, high, units, absolute)


def product_bounds(a: Interval, b: Interval, shapes: Sequence[tuple[int, ...]]) -> Interval:
    """Matrix product: signs where a bound is infinite, midpoint and radius with the gamma_n bound otherwise."""
    signs = sign_of_product(a, b)
    if not (a.finite and b.finite):
        return signs
    (sa, sb) = shapes
    n = sa[-1]
    if math.prod(sa) * sb[-1] > 2e9:
        return bounded_sum(a, b, n)
    with np.errstate(invalid="ignore", over="ignore"):
        (am, ar), (bm, br) = _midpoint(a, sa), _midpoint(b, sb)
        centre, aa, ba = am @ bm, np.abs(am), np.abs(bm)
        radius = aa @ br + ar @ (ba + br) + (n + 8) * _ULP * (aa @ ba)
        radius = np.where(np.isfinite(centre), radius * (1 + (n + 8) * _ULP) + 2.0**-1000, INF)
        return intersect(signs, Interval(down(centre - radius), up(centre + radius)))


def _midpoint(x: Interval, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = x.arrays(shape)
    if x.lower is x.upper:
        return low, np.zeros(shape)
    middle = low + (high - low) / 2
    return middle, np.maximum(up(high - middle), up(middle - low))


def bounded_sum(a: Interval, b: Interval, terms: int) -> Interval:
    """Sums of that many products, by their signs and by the largest factors."""
    signs = sign_of_product(a, b)
    bound = terms * max(map(abs, a.hull)) * max(map(abs, b.hull)) * (1 + 1e-9) + 2.0**-1060
    return intersect(signs, Interval(-bound, bound)) if a.finite and b.finite else signs


def sign_of_product(a: Interval, b: Interval) -> Interval:
    """What the signs alone say about sums of products."""
    (al, ah), (bl, bh) = a.hull, b.hull
    zero = (al >= 0 and ah <= 0) or (bl >= 0 and bh <= 0)
    same = (al >= 0 and bl >= 0) or (ah <= 0 and bh <= 0)
    opposite = (al >= 0 and bh <= 0) or (ah <= 0 and bl >= 0)
    return Interval(0.0 if zero or same else -INF, 0.0 if zero or opposite else INF)
