"""Search for bounds of second derivatives, in floats; ``certificate.onevariable`` concludes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np
from flint import arb, arb_series, ctx

from epigraph.certificate.curvature import Function
from epigraph.certificate.germs import Unknown
from epigraph.certificate.onevariable import Functions
from epigraph.certificate.secondderivative import PIECES, SecondDerivative
from epigraph.certificate.series import SeriesArithmetic

GRID = np.sort(np.concatenate([np.sinh(np.linspace(-6.5, 6.5, 131)), np.linspace(-0.5, 0.5, 5)]))
COARSE = 5
FLAT = 2.0**-28  # a smooth function is level to rounding within this distance of its least value


def second(functions: Functions, f: Function, z: float) -> float:
    """phi''(z) in floats, nan where it is not defined."""
    cap, ctx.cap = ctx.cap, 3
    try:
        value = functions.evaluate(f.terms, SeriesArithmetic(), arb_series([arb(z), 1]))[2]
        return 2 * float(value.mid()) if value.is_finite() else math.nan
    except (Unknown, ZeroDivisionError, ValueError):
        return math.nan
    finally:
        ctx.cap = cap


def grid(low: float, high: float) -> np.ndarray:
    """Points of the interval, dense near zero and near its finite ends."""
    points = [GRID]
    if math.isfinite(low) and math.isfinite(high):
        points = [low + (high - low) * (1 - np.cos(np.linspace(0, np.pi, 129))) / 2]
    elif math.isfinite(low):
        points = [low + np.abs(GRID), GRID]
    elif math.isfinite(high):
        points = [high - np.abs(GRID), GRID]
    z = np.unique(np.concatenate(points))
    return z[(z >= low) & (z <= high)]


@final
@dataclass(frozen=True)
class Sample:
    """The least value of phi'' that was seen, where, and the largest size; ``exact``: phi'' is that number everywhere."""

    least: float
    at: float
    size: float
    exact: Fraction | None = None


def sampled(functions: Functions, f: Function, coarse: bool = False) -> Sample | None:
    """phi'' on a grid, the least value refined by golden section; None where it is not defined at any point.

    ``coarse``: on a part of the grid and not refined, a tenth of the cost; the least value is no smaller for it.
    """
    level = SecondDerivative(functions, f.terms, f.low, f.high).constant()
    if level is not None:
        return Sample(float(level), 0.0, abs(float(level)), level)
    z = grid(f.low, f.high)
    if coarse:
        z = np.unique(np.append(z[::COARSE], z[-1:]))
    values = np.array([second(functions, f, float(x)) for x in z])
    if not np.isfinite(values).any():
        return None
    size = float(np.nanmax(np.abs(values)))
    k = int(np.nanargmin(values))
    if coarse:
        return Sample(float(values[k]), float(z[k]), size)
    a, b = float(z[max(k - 1, 0)]), float(z[min(k + 1, len(z) - 1)])
    at, least = _golden(lambda x: second(functions, f, x), a, b)
    if not least < values[k]:
        at, least = float(z[k]), float(values[k])
    return Sample(least, at, size)


def _golden(f: Callable[[float], float], a: float, b: float) -> tuple[float, float]:
    ratio = (math.sqrt(5) - 1) / 2
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    fc, fd = f(c), f(d)
    while b - a > FLAT * max(1.0, abs(c)):
        if fc < fd:
            b, d, fd = d, c, fc
            c = b - ratio * (b - a)
            fc = f(c)
        else:
            a, c, fc = c, d, fd
            d = a + ratio * (b - a)
            fd = f(d)
    return (c, fc) if fc < fd else (d, fd)


def bound(functions: Functions, f: Function, sample: Sample | None = None) -> Fraction | None:
    """A proved lower bound of phi'', as near to its least value as a few attempts give."""
    sample = sample or sampled(functions, f)
    if sample is None or sample.exact is not None:
        return None if sample is None else sample.exact
    least, size = sample.least, sample.size
    unit = max(abs(least), 2.0**-10 * min(size, 1e6))
    slacks = ((0.0, 150), (2.0**-44, 400), (2.0**-30, 1000), (2.0**-24, 1000), (2.0**-12, PIECES))
    attempts = [(Fraction(least - s * unit), n) for s, n in slacks]
    if least >= -1e-12 * size:
        attempts.insert(4 if least > 1e-7 * size else 0, (Fraction(0), PIECES))
    prover = SecondDerivative(functions, f.terms, f.low, f.high)
    for guess, pieces in attempts:
        if prover.at_least(guess, pieces):
            return guess
        if prover.hopeless:
            break
    return None
