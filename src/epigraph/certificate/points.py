"""The three points of a certificate: m is stored, a = m + k 2^s and b = m - k 2^s with integers k, all exact.

Moved values stay float64 arrays where the sum is exact (checked by TwoSum, vectorised) and become integers over a
common power of two where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np

SCALE_RANGE = (-1074, 900)


@final
@dataclass(frozen=True, slots=True)
class Delta:
    """A displacement of one tensor: ``sign`` (1 or -1) times integer ``steps`` times 2^``scale_log2``."""

    sign: int
    steps: np.ndarray
    scale_log2: int

    def __post_init__(self) -> None:
        if self.sign not in (1, -1) or not SCALE_RANGE[0] <= self.scale_log2 <= SCALE_RANGE[1]:
            raise ValueError(f"sign {self.sign} or scale {self.scale_log2} out of range")
        if self.steps.dtype.kind != "i" or self.steps.dtype.itemsize > 4:
            raise ValueError("steps must be integers of at most 32 bits")

    def floats(self) -> np.ndarray:
        """sign * steps * 2^scale_log2; exact, since |steps| < 2^32 and the scale keeps clear of both ends."""
        return np.asarray(np.ldexp(self.sign * self.steps.astype(np.float64), self.scale_log2))

    @property
    def opposite(self) -> Delta:
        return Delta(-self.sign, self.steps, self.scale_log2)


@final
@dataclass(frozen=True, slots=True)
class Dyadic:
    """Integers (``int64``, or Python integers in an object array) times 2^``exponent``."""

    mantissas: np.ndarray
    exponent: int


def moved(base: np.ndarray, delta: Delta) -> np.ndarray | Dyadic:
    """base + delta, exactly: a float64 array where that is exact, otherwise a ``Dyadic``."""
    if base.shape != delta.steps.shape:
        raise ValueError(f"steps of shape {delta.steps.shape} for a tensor of shape {base.shape}")
    total, exact = two_sum(base.astype(np.float64), delta.floats())
    return total if exact else _integers_sum(dyadic(base), dyadic(delta.floats()))


def two_sum(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, bool]:
    """The float64 sum, and whether it is exact in every entry (Knuth's TwoSum; sums that overflow are not exact)."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.asarray(x + y)
        part = total - x
        error = (x - (total - part)) + (y - part)
        return total, bool(np.all(error == 0) and np.all(np.isfinite(total)))


def dyadic(array: np.ndarray) -> Dyadic:
    """The values of a finite float or integer array over the largest common power of two."""
    if array.dtype.kind in "iub":
        wide = array.dtype == np.uint64
        return Dyadic(array.astype(object) if wide else array.astype(np.int64), 0)
    fractions, exponents = np.frexp(array.astype(np.float64).reshape(-1))
    mantissas = np.ldexp(fractions, 53).astype(np.int64)
    exponents = exponents.astype(np.int64) - 53
    nonzero = mantissas != 0
    if not nonzero.any():
        return Dyadic(mantissas.reshape(array.shape), 0)
    trailing = np.log2((mantissas & -mantissas)[nonzero].astype(np.float64)).astype(np.int64)
    mantissas[nonzero] >>= trailing
    exponents[nonzero] += trailing
    least = int(exponents[nonzero].min())
    shifts = np.where(nonzero, exponents - least, 0)
    if bits(mantissas, shifts) <= 62:
        return Dyadic((mantissas << shifts).reshape(array.shape), least)
    large = np.empty(array.size, dtype=object)
    large[:] = [m << s for m, s in zip(mantissas.tolist(), shifts.tolist(), strict=True)]
    return Dyadic(large.reshape(array.shape), least)


def bits(mantissas: np.ndarray, shifts: np.ndarray) -> int:
    """A bound on the bit length of ``mantissas << shifts``."""
    if mantissas.size == 0:
        return 0
    lengths = np.frexp(np.abs(mantissas).astype(np.float64))[1] + shifts
    return int(lengths.max())


def _integers_sum(x: Dyadic, y: Dyadic) -> Dyadic:
    least = min(x.exponent, y.exponent)
    left, right = (v.mantissas.astype(object) * (1 << (v.exponent - least)) for v in (x, y))
    return Dyadic(np.asarray(left + right, dtype=object), least)


def inside(value: np.ndarray | Dyadic, low: np.ndarray | float | None, high: np.ndarray | float | None) -> bool:
    """Is low <= value <= high in every entry, decided exactly?  Bounds are floats (infinite ones allowed) or absent."""
    if isinstance(value, Dyadic):
        numbers = np.empty(value.mantissas.size, dtype=object)
        numbers[:] = [_fraction(v, value.exponent) for v in value.mantissas.ravel().tolist()]
        shown = numbers.reshape(value.mantissas.shape)
    else:
        shown = value.astype(np.float64)
    above = low is None or bool(np.all(shown >= np.asarray(low, dtype=np.float64)))
    return above and (high is None or bool(np.all(shown <= np.asarray(high, dtype=np.float64))))


def _fraction(mantissa: int, exponent: int) -> Fraction:
    return Fraction(mantissa) * Fraction(2) ** exponent
