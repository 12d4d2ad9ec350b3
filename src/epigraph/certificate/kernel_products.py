"""Does an interval contain all values of a matrix product or a convolution of interval tensors?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_numbers import INF, Array, fraction_up
from epigraph.certificate.kernel_records import Record

UNIT = 2.0**-53
BLOCK = 2**22
EXACT_TERMS = 2_000_000


def contains_products(node: Node, x: Sequence[Record], out: Record) -> tuple[bool, bool]:
    """Lower ends of sums of products, and upper ends as lower ends of the products with one factor negated."""
    f, g = x
    return (_sums_at_least(node, f.shape, (f.lower, f.upper), g.shape, (g.lower, g.upper), out.lower),
            _sums_at_least(node, f.shape, (-f.upper, -f.lower), g.shape, (g.lower, g.upper), -out.upper))  # fmt: skip


def _sums_at_least(
    node: Node, f_shape: Any, f: tuple[Array, Array], g_shape: Any, g: tuple[Array, Array], bound: Array
) -> bool:
    """bound <= every value of the sums of n products, for every entry."""
    least = float(np.max(bound, initial=-INF))
    if least == -INF or 0 in node.shape:
        return True
    signed = _nonnegative(f, g)
    if signed and least <= 0:
        return True
    terms = math.prod(g_shape[1:]) if node.op == "convolution" else f_shape[-1]
    if least <= _crude(f, g, terms):
        return True
    if node.op == "convolution":
        return False
    return _matmul_at_least(f_shape, f, g_shape, g, np.broadcast_to(bound, node.shape), signed)


def _nonnegative(f: tuple[Array, Array], g: tuple[Array, Array]) -> bool:
    """Are all products >= 0 by the signs of the factors?"""
    return bool((np.all(f[0] >= 0) and np.all(g[0] >= 0)) or (np.all(f[1] <= 0) and np.all(g[1] <= 0)))


def _crude(f: tuple[Array, Array], g: tuple[Array, Array], terms: int) -> float:
    """A float below -n max|f| max|g|."""
    sizes = [max(float(np.max(np.abs(v), initial=0.0)) for v in pair) for pair in (f, g)]
    if math.isinf(max(sizes)):
        return -INF if min(sizes) > 0 and terms else 0.0
    return -fraction_up(terms * Fraction(sizes[0]) * Fraction(sizes[1]))


def _matmul_at_least(
    f_shape: Any, f: tuple[Array, Array], g_shape: Any, g: tuple[Array, Array], bound: Array, signed: bool
) -> bool:
    f = tuple(np.broadcast_to(v, f_shape) for v in f)  # type: ignore[assignment]
    g = tuple(np.broadcast_to(v, g_shape) for v in g)  # type: ignore[assignment]
    if np.array_equal(f[0], f[1]):
        low = _point_times(f[0], *g)
    elif np.array_equal(g[0], g[1]):
        low = np.swapaxes(_point_times(np.swapaxes(g[0], -1, -2), *(np.swapaxes(v, -1, -2) for v in f)), -1, -2)
    else:
        low = _corners(f, g)
    ok = (bound <= low) | (signed & (bound <= 0)) | (bound == -INF)
    return bool(ok.all()) or _exactly(f, g, bound, np.argwhere(~ok))


def _point_times(c: Array, low: Array, high: Array) -> Array:
    """A lower bound of c X for low <= X <= high: c+ low - c- high, less the rounding error of n products and their

    sum.
    """
    n = c.shape[-1]
    positive, negative = np.maximum(c, 0.0), np.minimum(c, 0.0)
    finite_low, finite_high = np.where(np.isinf(low), 0.0, low), np.where(np.isinf(high), 0.0, high)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        value = positive @ finite_low + negative @ finite_high
        size = positive @ np.abs(finite_low) - negative @ np.abs(finite_high)
        error = size * ((n + 3) * UNIT * (1 + (n + 8) * 2 * UNIT)) + (n + 1) * 2.0**-1070
        found = np.nextafter(value - error, -INF)
        missing = (c > 0).astype(np.float64) @ np.isinf(low) + (c < 0).astype(np.float64) @ np.isinf(high)
    return np.where((missing > 0) | ~np.isfinite(found), -INF, found)


def _corners(f: tuple[Array, Array], g: tuple[Array, Array]) -> Array:
    """The sum over j of the least corner product of f[..., i, j] and g[..., j, k], less the rounding error."""
    n, rows = f[0].shape[-1], f[0].shape[-2]
    lead = np.broadcast_shapes(f[0].shape[:-2], g[0].shape[:-2])
    step = max(1, BLOCK // max(1, n * g[0].shape[-1] * math.prod(lead)))
    parts = []
    for start in range(0, rows, step):
        least: Any = INF
        for a in f:
            for b in g:
                with np.errstate(invalid="ignore", over="ignore", under="ignore"):
                    p = a[..., start : start + step, :, None] * b[..., None, :, :]
                least = np.minimum(least, np.where(np.isnan(p), 0.0, p))
        with np.errstate(invalid="ignore", over="ignore"):
            value, size = least.sum(axis=-2), np.abs(least).sum(axis=-2)
            error = size * ((n + 3) * UNIT * (1 + (n + 8) * 2 * UNIT)) + (n + 1) * 2.0**-1070
            found = np.nextafter(value - error, -INF)
        parts.append(np.where(np.isfinite(found), found, -INF))
    return np.concatenate(parts, axis=-2)


def _exactly(f: tuple[Array, Array], g: tuple[Array, Array], bound: Array, places: Array) -> bool:
    """The same in rational numbers, for the few entries that float64 leaves open."""
    n = f[0].shape[-1]
    if len(places) * n > EXACT_TERMS:
        return False
    lead = bound.shape[:-2]
    f = tuple(np.broadcast_to(v, (*lead, *v.shape[-2:])) for v in f)  # type: ignore[assignment]
    g = tuple(np.broadcast_to(v, (*lead, *v.shape[-2:])) for v in g)  # type: ignore[assignment]
    for place in places:
        at, i, k = tuple(place[:-2]), place[-2], place[-1]
        total: Any = Fraction(0)
        for j in range(n):
            least = min(_corner(float(a[(*at, i, j)]), float(b[(*at, j, k)])) for a in f for b in g)
            if least == -INF:
                return False
            total += least
        if Fraction(float(bound[tuple(place)])) > total:
            return False
    return True


def _corner(u: float, v: float) -> Any:
    """u v as a Fraction, 0 inf = 0, or as an infinite float."""
    if u == 0 or v == 0:
        return Fraction(0)
    return u * v if math.isinf(u) or math.isinf(v) else Fraction(u) * Fraction(v)
