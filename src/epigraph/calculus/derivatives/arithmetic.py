"""The two kinds of numbers that the table of derivatives is evaluated in: float64 tensors and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from epigraph.calculus import interval as iv
from epigraph.calculus import rules  # noqa: F401  (registers the rules)
from epigraph.calculus.interval import Interval
from epigraph.calculus.rule import RULES
from epigraph.objective.evaluate import KERNELS
from epigraph.objective.graph import Node

Value = Any  # a Tensor or a Range: whatever +, - and * are defined for


class Numbers(Protocol):
    """What a formula for a derivative may use besides +, - and * with integers."""

    def apply(self, op: str, x: Value) -> Value:
        """An elementwise primitive without attributes."""
        ...

    def power(self, x: Value, exponent: Fraction) -> Value: ...

    def rational(self, q: Fraction) -> Value: ...

    def density(self, x: Value) -> Value:
        """e^(-x^2/2) / sqrt(2 pi)."""
        ...

    def normal(self, x: Value) -> Value:
        """The normal distribution function."""
        ...

    def gauss(self, x: Value) -> Value:
        """2 e^(-x^2) / sqrt(pi), the derivative of erf."""
        ...

    def mills(self, x: Value) -> Value:
        """The derivative of log_ndtr: density / normal."""
        ...

    def between(self, x: Value, low: float, high: float) -> Value:
        """The same number, known to lie between these."""
        ...


@final
class Reals:
    """Float64 tensors; nothing is enclosed."""

    def apply(self, op: str, x: Tensor) -> Tensor:
        return KERNELS[op]({}, [x])

    def power(self, x: Tensor, exponent: Fraction) -> Tensor:
        return KERNELS["power"]({"exponent": exponent}, [x])

    def rational(self, q: Fraction) -> float:
        return float(q)

    def density(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    def normal(self, x: Tensor) -> Tensor:
        return torch.special.erfc(x * -math.sqrt(0.5)) / 2

    def gauss(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x) * (2 / math.sqrt(math.pi))

    def mills(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x / 2 - torch.special.log_ndtr(x)) / math.sqrt(2 * math.pi)

    def between(self, x: Tensor, low: float, high: float) -> Tensor:
        return x


@final
class Range:
    """An interval with the operators that formulas use; a factor that is the same object twice is a square."""

    __slots__ = ("bounds",)
    __array_ufunc__ = None

    def __init__(self, bounds: Interval):
        self.bounds = bounds

    def __add__(self, other: Range | float) -> Range:
        return Range(iv.add(self.bounds, _bounds(other)))

    def __sub__(self, other: Range | float) -> Range:
        return Range(iv.add(self.bounds, iv.neg(_bounds(other))))

    def __rsub__(self, other: Range | float) -> Range:
        return -self + other

    def __neg__(self) -> Range:
        return Range(iv.neg(self.bounds))

    def __mul__(self, other: Range | float) -> Range:
        if other is self:
            return power(self, Fraction(2))
        return Range(iv.mul(self.bounds, _bounds(other)))

    __radd__, __rmul__ = __add__, __mul__


def _bounds(value: Range | float) -> Interval:
    return value.bounds if isinstance(value, Range) else Interval.point(float(value))


def primitive(op: str, x: Range, **attributes: Any) -> Range:
    """The range of a primitive, from its rule."""
    return Range(RULES[op].interval(Node(0, op, (), attributes, ()), [x.bounds], [()]))


def power(x: Range, exponent: Fraction) -> Range:
    return primitive("power", x, exponent=str(exponent))


def enclosed(q: Fraction) -> Range:
    """The float64 numbers around a rational."""
    near = float(q)
    if Fraction(near) == q:
        return Range(Interval.point(near))
    return Range(Interval(math.nextafter(near, -math.inf), math.nextafter(near, math.inf)))


def _around(value: float) -> Range:
    """A constant that float64 arithmetic gives within four units in the last place."""
    return Range(iv.widen(value, value, units=4))


@final
class Ranges:
    """Intervals rounded outward."""

    def apply(self, op: str, x: Range) -> Range:
        return primitive(op, x)

    def power(self, x: Range, exponent: Fraction) -> Range:
        return power(x, exponent)

    def rational(self, q: Fraction) -> Range:
        return enclosed(q)

    def density(self, x: Range) -> Range:
        return primitive("exp", (x * x) * -0.5) * _around(1 / math.sqrt(2 * math.pi))

    def normal(self, x: Range) -> Range:
        half = primitive("erf", x * _around(math.sqrt(0.5))) * 0.5 + 0.5
        return self.between(half, 0.0, 1.0)

    def gauss(self, x: Range) -> Range:
        return primitive("exp", -(x * x)) * _around(2 / math.sqrt(math.pi))

    def mills(self, x: Range) -> Range:
        """density / normal decreases and is convex: its range lies between its values at the ends."""
        low, high = (self._mills(Range(Interval.point(end))) for end in (x.bounds.lower, x.bounds.upper))
        return Range(Interval(high.bounds.lower, low.bounds.upper))

    def _mills(self, x: Range) -> Range:
        exponent = (x * x) * -0.5 - primitive("log_ndtr", x)
        return primitive("exp", exponent) * _around(1 / math.sqrt(2 * math.pi))

    def between(self, x: Range, low: float, high: float) -> Range:
        return Range(iv.clip(x.bounds, low, high))


def subdivided(formula: Callable[[Range], list[Range]], x: Interval, pieces: int) -> list[Interval]:
    """Ranges of a formula as the hull of its ranges on equal parts of each entry's interval.

    The parts share their ends, the first begins at the lower bound and the last stops at the upper bound, so that
    they cover the interval whatever the rounding of the ends between.
    """
    low, high = np.broadcast_arrays(np.asarray(x.lower, np.float64), np.asarray(x.upper, np.float64))
    if pieces == 1 or not (np.isfinite(low).all() and np.isfinite(high).all()):
        return [r.bounds for r in formula(Range(Interval(low, high)))]
    steps = np.arange(1, pieces, dtype=np.float64).reshape(-1, *(1,) * low.ndim) / pieces
    with np.errstate(over="ignore"):  # ends that are infinite are clipped
        inner = np.clip(low + (high - low) * steps, low, high)
    ends = np.concatenate((low[None], inner, high[None]))
    found = formula(Range(Interval(ends[:-1], ends[1:])))
    out = []
    for r in found:
        lower, upper = (np.broadcast_to(b, (pieces, *low.shape)) for b in (r.bounds.lower, r.bounds.upper))
        out.append(Interval(lower.min(0), upper.max(0)))
    return out


REALS, RANGES = Reals(), Ranges()
