"""What the seven claims say of a function on a segment, seen at its two ends and its midpoint.

Every claim is a family of inequalities between the values at such triples, so a rule that is wrong is wrong on some
triple of numbers.  Here all triples over a few values are enumerated.  The values are such that inequalities that fail
do so by far more than the tolerance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    Facts,
    close,
)

Array = NDArray[np.float64]
Claims = NDArray[np.uint8]
SIGNED = LOGCONVEX | LOGCONCAVE | ROOTCONVEX
VALUES = (-9.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0)
TOLERANCE = 1e-11


def triples(values: Sequence[float] = VALUES) -> Array:
    """All (f(a), f(m), f(b)) over the values."""
    return np.array(list(itertools.product(values, repeat=3)), dtype=np.float64)


def truth(t: Array) -> Claims:
    """The claims that hold of each triple.  Infinite values are compared as such; inf - inf and 0 inf decide nothing."""
    a, m, b = t[..., 0], t[..., 1], t[..., 2]
    unit = TOLERANCE * np.abs(np.where(np.isfinite(t), t, 0.0)).max(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        negative = (t < -unit[..., None]).any(-1)
        square = unit * unit / TOLERANCE
        root = np.sqrt(np.maximum(t, 0.0))
        fails = {
            CONVEX: 2 * m > a + b + unit,
            CONCAVE: 2 * m < a + b - unit,
            QCONVEX: m > np.maximum(a, b) + unit,
            QCONCAVE: m < np.minimum(a, b) - unit,
            LOGCONVEX: negative | (m * m > a * b + square),
            LOGCONCAVE: negative | (m * m < a * b - square),
            ROOTCONVEX: negative | (2 * root[..., 1] > root[..., 0] + root[..., 2] + np.sqrt(unit * TOLERANCE)),
        }
    out = np.full(t.shape[:-1], 127, np.uint8)
    for claim, mask in fails.items():
        out &= np.where(mask, np.uint8(127 - claim), np.uint8(127))
    return out


def named(bits: int) -> str:
    return "|".join(name for claim, name in NAMES.items() if bits & claim) or "none"


# what may be known of an operand ------------------------------------------------------------------------------------------
RANGES = {"?": (-9.0, 9.0), ">=0": (0.0, 9.0), ">0": (1.0, 9.0), "<=0": (-9.0, 0.0), "<0": (-9.0, -1.0)}


@dataclass(frozen=True)
class Known:
    """A set of claims that contains what follows from it, and the range in which all values lie."""

    bits: int
    sign: str

    @property
    def range(self) -> tuple[float, float]:
        return RANGES[self.sign]

    def facts(self, carrier: tuple[int, int] | None = None, varies: bool = True) -> Facts:
        return Facts(self.bits, Interval(*self.range), carrier, -1, varies)

    def examples(self, t: Array, held: Claims) -> NDArray[np.bool_]:
        """Which triples are as this says?"""
        low, high = self.range
        return ((held & self.bits) == self.bits) & (t.min(-1) >= low) & (t.max(-1) <= high)

    def __str__(self) -> str:
        return f"{named(self.bits)} {self.sign}"


def knowledge() -> list[Known]:
    """Everything that the lattice can say; a claim such as log-convex may be known where the interval has no sign."""
    found = []
    for sign, (low, high) in RANGES.items():
        for bits in range(128):
            if int(close(bits, low >= 0)) == bits and not (high <= 0 and bits & SIGNED):
                found.append(Known(bits, sign))
    return found


def strongest(
    function: Callable[[Array, Array], Array],
    first: Array,
    second: Array,
    known: Sequence[Known],
    others: Sequence[Known],
) -> Claims:
    """For each pair of what is known of f and of g: the claims that f op g has in all examples (127 where there is none)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        out = function(first[:, None, :], second[None, :, :])
    held = np.where(np.isnan(out).any(-1), np.uint8(127), truth(out))
    rows = [k.examples(first, truth(first)) for k in known]
    columns = [k.examples(second, truth(second)) for k in others]
    part = [np.bitwise_and.reduce(held[r], axis=0) if r.any() else np.full(len(second), 127, np.uint8) for r in rows]
    return np.array([[np.bitwise_and.reduce(p[c]) if c.any() else 127 for c in columns] for p in part], dtype=np.uint8)


def moving(t: Array, direction: int) -> Array:
    """The triples that are nondecreasing (+1) or nonincreasing (-1) from a over m to b; all of them for 0."""
    steps = np.diff(t, axis=1) * direction
    return t[(steps >= 0).all(1)]


TRIPLES_FEW = triples((0.0, 0.5, 1.0, 2.0, 3.0, 4.0))


def constants(values: Sequence[float] = VALUES) -> Array:
    return np.repeat(np.array(values)[:, None], 3, axis=1)
