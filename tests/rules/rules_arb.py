"""Derivatives and their signs on intervals, with Arb: every ball contains the exact value.

A sign on an interval is proved by bisection.  On a part either the enclosure of the quantity has the sign, or the
enclosure of its derivative has one, so that the quantity is least at one end, where it is evaluated, or where it is
zero by a lemma of the table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flint
from flint import arb, arb_series

Function = Callable[[Any], Any]  # of arb or of arb_series
Jet = list[arb]

QUANTITIES = ("value", "slope", "curvature", "log", "root")


@contextmanager
def precision(bits: int, terms: int = 4) -> Iterator[None]:
    """Working precision and length of series; both are global in FLINT and are put back."""
    before = flint.ctx.prec, flint.ctx.cap
    flint.ctx.prec, flint.ctx.cap = bits, terms
    try:
        yield
    finally:
        flint.ctx.prec, flint.ctx.cap = before


def jet(f: Function, x: arb) -> Jet:
    """f, f', f'', f''' on the ball x."""
    series = f(arb_series([x, 1]))
    return [series[k] * math.factorial(k) for k in range(4)]


def quantity(name: str, j: Jet) -> tuple[arb, arb]:
    """The quantity whose sign decides a property, and its derivative, from f, f', f'', f'''."""
    f, d1, d2, d3 = j
    return {
        "value": (f, d1),
        "slope": (d1, d2),
        "curvature": (d2, d3),
        "log": (f * d2 - d1 * d1, f * d3 - d1 * d2),  # f^2 (log f)''
        "root": (2 * f * d2 - d1 * d1, 2 * f * d3),  # 4 f^(3/2) (sqrt f)''
    }[name]


def hull(a: float, b: float) -> arb:
    return arb(a).union(arb(b))


def proved(f: Function, name: str, low: float, high: float, sign: int, zeros: tuple[float, ...] = ()) -> bool:
    """Is sign * quantity >= 0 on [low, high]?  At ``zeros`` the quantity is zero by a lemma."""
    pending = [(low, high, 0)]
    while pending:
        a, b, depth = pending.pop()
        value, slope = (sign * q for q in quantity(name, jet(f, hull(a, b))))
        if value >= 0:
            continue
        if slope > 0 or slope < 0:
            end = a if slope > 0 else b
            if end in zeros or sign * quantity(name, jet(f, arb(end)))[0] >= 0:
                continue
        middle = a + (b - a) / 2
        if depth == 80 or not a < middle < b:
            return False
        pending += [(a, middle, depth + 1), (middle, b, depth + 1)]
    return True


def strictly(f: Function, name: str, x: float) -> int:
    """The sign of the quantity at a point; 0 where Arb cannot tell."""
    value = quantity(name, jet(f, arb(x)))[0]
    return 1 if value > 0 else -1 if value < 0 else 0


def cells(low: float, high: float) -> list[tuple[float, float]]:
    """[low, high] cut at powers of two and at quarters, so that functions of e^x and of log x are easy on each part."""
    cuts = {s * 2.0**k for s in (-1, 1) for k in range(-60, 61)} | {k / 4 for k in range(-200, 201)}
    inner = sorted(c for c in cuts if low < c < high)
    ends = [low, *inner, high]
    return list(itertools.pairwise(ends))
