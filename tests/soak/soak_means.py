"""The power mean of two nonnegative numbers with equal weights, in floats and in balls."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from flint import arb, fmpq
from numpy.typing import NDArray

Array = NDArray[np.float64]
Order = Fraction | float


def mean(order: Order, u: Array, v: Array) -> Array:
    if math.isinf(order):
        return np.maximum(u, v) if order > 0 else np.minimum(u, v)
    if order == 0:
        return np.sqrt(u) * np.sqrt(v)
    r, top = float(order), np.maximum(u, v)
    scale = np.where(top > 0, top, 1.0)
    inner = (np.power(u / scale, r) + np.power(v / scale, r)) / 2
    out = scale * np.power(inner, 1 / r)
    return np.where(np.minimum(u, v) == 0, 0.0, out) if r < 0 else out


def ball_mean(order: Order, u: arb, v: arb) -> arb:
    """NaN where a logarithm of zero would be needed."""
    if math.isinf(order):
        return u.max(v) if order > 0 else u.min(v)
    if order == 0:
        return (u * v).sqrt()
    r = arb(fmpq(Fraction(order).numerator, Fraction(order).denominator))
    if u == 0 or v == 0:
        if r < 0:
            return arb(0)
        one = u + v
        return (((one.log() * r).exp() / 2).log() / r).exp() if one > 0 else arb(0)
    if not (u > 0 and v > 0):
        return arb("nan")
    return ((((u.log() * r).exp() + (v.log() * r).exp()) / 2).log() / r).exp()
