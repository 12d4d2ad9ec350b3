r"""The linear part of a node that is affine in the active parameters: a sparse matrix with bounds of its entries.

Entry e of the node is sum_k A[e, k] theta_k + b[e].  The entries of A are products and sums of the literal data; a float
of which the arithmetic was exact has radius zero, any other a bound of its error, found by Dekker's and Knuth's
error-free transformations and not by a model of the machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

ENTRY_LIMIT = 4_000_000
TINY, HUGE = 2.0**-400, 2.0**400  # outside, products could underflow or overflow: refused


class Unsuited(Exception):
    """The lemma does not apply: too many entries, unknown constants, or numbers beyond the range of floats."""


@final
@dataclass(frozen=True, slots=True)
class Numbers:
    """Real numbers as floats with bounds of their distance; ``radius`` is None where all are exact."""

    middle: np.ndarray
    radius: np.ndarray | None = None

    def take(self, index: Any) -> Numbers:
        return Numbers(self.middle[index], None if self.radius is None else self.radius[index])

    def __neg__(self) -> Numbers:
        return Numbers(-self.middle, self.radius)

    def times(self, other: Numbers) -> Numbers:
        middle, error = _product(self.middle, other.middle)
        total = error
        if self.radius is not None or other.radius is not None:
            r = np.zeros_like(self.middle) if self.radius is None else self.radius
            s = np.zeros_like(other.middle) if other.radius is None else other.radius
            size, own = np.abs(self.middle), np.abs(other.middle)
            unsure = (error > 0) | ((r > 0) & ((own > 0) | (s > 0))) | ((s > 0) & (size > 0))  # sizes may underflow
            total = _up(error + size * s + r * own + r * s, unsure)
        return Numbers(middle, total if total.any() else None)

    def gathered(self, where: np.ndarray, count: int) -> Numbers:
        """Sums of the numbers with equal ``where``, of which there are ``count``."""
        if len(self.middle) == count and np.array_equal(where, np.arange(count)):
            return self
        middle = np.bincount(where, self.middle, count)
        error = None
        if not _sums_exactly(self.middle, where, count):
            many = np.bincount(where, minlength=count)
            error = _up(np.bincount(where, np.abs(self.middle), count) * many * 2.0**-52)
        if self.radius is not None:
            own = np.bincount(where, self.radius, count)
            error = _up(own * (1 + len(where) * 2.0**-50) + (0.0 if error is None else error))
        return Numbers(middle, error)


def _up(x: np.ndarray, positive: np.ndarray | None = None) -> np.ndarray:
    """Above the exact value of a sum of a few nonnegative products; ``positive``: where that value is not zero."""
    return x * (1 + 2.0**-48) + np.where(x > 0 if positive is None else positive, 2.0**-1000, 0.0)


def _checked(x: np.ndarray) -> np.ndarray:
    size = np.abs(x)
    if not bool(np.all((size < HUGE) & ((size > TINY) | (size == 0)))):
        raise Unsuited
    return x


def _product(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded product and the size of its error, exactly (Dekker)."""
    p = _checked(x) * _checked(y)
    (xh, xl), (yh, yl) = _halves(x), _halves(y)
    return p, np.abs(((xh * yh - p) + xh * yl + xl * yh) + xl * yl)


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c = 134217729.0 * x
    high = c - (c - x)
    return high, x - high


def _sums_exactly(x: np.ndarray, where: np.ndarray, count: int) -> bool:
    """Are all partial sums floats?  All terms are multiples of one power of two, and the sums of sizes below 2^53 of it."""
    used = x[x != 0]
    if used.size == 0 or bool(np.bincount(where, minlength=count).max() <= 1):
        return True
    mantissa, exponent = np.frexp(used)
    whole = (mantissa * 2.0**53).astype(np.int64)
    lowest = np.log2((whole & -whole).astype(np.float64)) + exponent - 53
    unit = float(np.min(lowest))
    largest = float(np.bincount(where, np.abs(x), count).max()) * (1 + 2.0**-30)
    return largest < 2.0 ** min(unit + 53, 1000)


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """A sparse matrix in rows: entries ``start[e]`` to ``start[e + 1]`` belong to row e."""

    start: np.ndarray
    columns: np.ndarray
    values: Numbers

    @property
    def count(self) -> int:
        return len(self.start) - 1

    @property
    def owner(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(self.count), np.diff(self.start))

    def take(self, index: np.ndarray) -> Rows:
        """The rows ``index``, in that order."""
        sizes = np.diff(self.start)[index]
        total = int(sizes.sum())
        if total > ENTRY_LIMIT:
            raise Unsuited
        start = np.concatenate([[0], np.cumsum(sizes)])
        place = np.arange(total) + np.repeat(self.start[index] - start[:-1], sizes)
        return Rows(start, self.columns[place], self.values.take(place))

    def scaled(self, factors: Numbers) -> Rows:
        """Row e times factor e."""
        return Rows(self.start, self.columns, self.values.times(factors.take(self.owner)))

    def __neg__(self) -> Rows:
        return Rows(self.start, self.columns, -self.values)


def identity(count: int, offset: int) -> Rows:
    return Rows(np.arange(count + 1), np.arange(offset, offset + count), Numbers(np.ones(count)))


def empty(count: int) -> Rows:
    return Rows(np.zeros(count + 1, np.int64), np.zeros(0, np.int64), Numbers(np.zeros(0)))


def collected(owner: np.ndarray, columns: np.ndarray, values: Numbers, count: int) -> Rows:
    """Rows from entries in any order; entries of the same place are added."""
    if len(owner) > ENTRY_LIMIT:
        raise Unsuited
    width = int(columns.max(initial=0)) + 1
    keys, where = np.unique(owner * width + columns, return_inverse=True)
    rows = keys // width
    start = np.searchsorted(rows, np.arange(count + 1))
    return Rows(start, keys % width, _sorted(values, where.reshape(-1), len(keys)))


def _sorted(values: Numbers, where: np.ndarray, count: int) -> Numbers:
    if len(where) == count:
        order = np.empty(count, np.int64)
        order[where] = np.arange(count)
        return values.take(order)
    return values.gathered(where, count)


def added(parts: Sequence[Rows]) -> Rows:
    """The sum of matrices of the same shape."""
    owner = np.concatenate([p.owner for p in parts])
    columns = np.concatenate([p.columns for p in parts])
    return collected(owner, columns, joined([p.values for p in parts]), parts[0].count)


def stacked(parts: Sequence[Rows]) -> Rows:
    """The rows of several matrices, one after the other."""
    sizes = np.concatenate([np.diff(p.start) for p in parts])
    start = np.concatenate([[0], np.cumsum(sizes)])
    return Rows(start, np.concatenate([p.columns for p in parts]), joined([p.values for p in parts]))


def joined(parts: Sequence[Numbers]) -> Numbers:
    middle = np.concatenate([p.middle for p in parts])
    if all(p.radius is None for p in parts):
        return Numbers(middle)
    return Numbers(middle, np.concatenate([np.zeros(len(p.middle)) if p.radius is None else p.radius for p in parts]))


def summed(x: Rows, target: np.ndarray, count: int) -> Rows:
    """Row e is added to row target[e]."""
    return collected(target[x.owner], x.columns, x.values, count)


def pairs(
    shape: tuple[int, ...], factor_shape: tuple[int, ...], out: tuple[int, ...], first: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The terms of a matrix product as (entry of the operand, entry of the other factor, entry of the result).

    ``first`` where the operand is the left factor.
    """
    i, j, k = out[-2], shape[-1 if first else -2], out[-1]
    batch, groups = out[:-2], math.prod(out[:-2])
    if groups * i * j * k > ENTRY_LIMIT:
        raise Unsuited
    own, other = (
        np.broadcast_to(np.arange(math.prod(s)).reshape(s), (*batch, *s[-2:])).reshape(groups, *s[-2:])
        for s in (shape, factor_shape)
    )
    g, a, b, c = (v.reshape(-1) for v in np.meshgrid(*map(np.arange, (groups, i, j, k)), indexing="ij"))
    source = own[g, a, b] if first else own[g, b, c]
    weight = other[g, b, c] if first else other[g, a, b]
    return source, weight, (g * i + a) * k + c


def product(x: Rows, terms: tuple[np.ndarray, np.ndarray, np.ndarray], factor: Numbers, count: int) -> Rows:
    """A matrix product of a node with rows ``x`` and a constant; ``terms`` as from ``pairs``."""
    source, weight, target = terms
    used = factor.middle[weight] != 0
    if factor.radius is not None:
        used |= factor.radius[weight] > 0
    return summed(x.take(source[used]).scaled(factor.take(weight[used])), target[used], count)
