"""Axes: round tick values and how they are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from epigraph.plot.numbers import superscripted


@final
@dataclass(frozen=True)
class Scale:
    """An affine map from data ``[low, high]`` to pixels ``[start, stop]``."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """At most about ``count`` multiples of 1, 2 or 5 times a power of ten within [low, high].

    >>> ticks(0.0, 1.0), ticks(-3.0, 7.0)
    ((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (-2.0, 0.0, 2.0, 4.0, 6.0))
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(float(f"{index * step:.15g}") for index in range(first, last + 1))


def tick_labels(values: tuple[float, ...]) -> tuple[str, ...]:
    """All ticks with the same number of decimals, or with powers of ten where they are very large or small."""
    if len(values) < 2:
        return tuple(superscripted(f"{v:.12g}") for v in values)
    largest = max(abs(v) for v in values)
    step = min(abs(y - x) for x, y in pairwise(values))
    if largest >= 1e5 or (0 < largest < 1e-3):
        return tuple("0" if v == 0 else superscripted(_mantissa(v, step)) for v in values)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return tuple(f"{v:.{min(decimals, 12)}f}".replace("-", "−") for v in values)


def _mantissa(value: float, step: float) -> str:
    digits = max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    mantissa, exponent = f"{value:.{min(digits, 12)}e}".split("e")
    return f"{mantissa}e{int(exponent)}"
