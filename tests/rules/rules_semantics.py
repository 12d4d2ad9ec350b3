"""What the seven claims say of a function on a segment, seen at its two ends and its midpoint.

Every claim is a family of inequalities between the values at such triples, so a rule that is wrong is wrong on some
triple of numbers.  Here all triples over a few values are enumerated, and the inequalities are decided exactly (small
dyadic numbers) or with a tolerance far below the least difference that occurs.
"""
from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import (
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    LOGCONVEX,
    NAMES,
    QCONCAVE,
    QCONVEX,
    ROOTCONVEX,
    Bits,
    Facts,
    close,
)

Array = NDArray[np.float64]
SIGNED = (LOGCONVEX, LOGCONCAVE, ROOTCONVEX)


def triples(values: tuple[float, ...]) -> Array:
    """All (f(a), f(m), f(b)) over the values."""
    return np.array(list(itertools.product(values, repeat=3)), dtype=np.float64)


def truth(t: Array, tolerance: float = 0.0) -> NDArray[np.uint8]:
    """The claims that hold of each triple; inequalities may fail by the tolerance, relative to the triple's size."""
    a, m, b = t[..., 0], t[..., 1], t[..., 2]
    unit = tolerance * np.abs(t).max(-1)
    positive = (t >= -unit[..., None]).all(-1)
    mean, geometric = a + b - 2 * m, a * b - m * m
    root = 4 * m - a - b
    square = unit * np.abs(t).max(-1)
    held = {
        CONVEX: mean >= -unit, CONCAVE: mean <= unit,
        QCONVEX: m <= np.maximum(a, b) + unit, QCONCAVE: m >= np.minimum(a, b) - unit,
        LOGCONVEX: positive & (geometric >= -square), LOGCONCAVE: positive & (geometric <= square),
        ROOTCONVEX: positive & ((root <= unit) | (root * root <= 4 * a * b + 4 * square)),
    }
    out = np.zeros(t.shape[:-1], np.uint8)
    for claim, mask in held.items():
        out |= np.where(mask, np.uint8(claim), np.uint8(0))
    return out


def named(bits: int) -> str:
    return "|".join(name for claim, name in NAMES.items() if bits & claim) or "none"


def closed_sets(nonnegative: bool) -> list[int]:
    """All sets of claims that contain what follows from them."""
    found = []
    for bits in range(128):
        if (nonnegative or not any(bits & c for c in SIGNED)) and int(close(bits, nonnegative)) == bits:
            found.append(bits)
    return found


def interval_of(t: Array) -> Interval:
    """Bounds over the triple, entry by entry."""
    return Interval(t.min(-1), t.max(-1))


def facts_of(t: Array, bits: Bits | None = None, carrier: tuple[int, int] | None = None, varies: bool = True) -> Facts:
    """All that is true of each triple (or the given claims of it), as one entry each."""
    return Facts(truth(t) if bits is None else bits, interval_of(t), carrier, -1, varies)
