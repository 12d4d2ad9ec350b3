"""Is a polynomial in one variable nonnegative on an interval?  By Sturm's theorem, in rational numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

from flint import fmpq, fmpq_poly


def never_negative(p: fmpq_poly, low: float, high: float) -> bool:
    """Is p >= 0 on [low, high]?  No factor of odd multiplicity may have a root inside, and one value must not be negative.

    >>> never_negative(fmpq_poly([1, -2, 1]), -math.inf, math.inf), never_negative(fmpq_poly([0, 1]), -1.0, 1.0)
    (True, False)
    """
    if p.degree() < 0:
        return True
    odd = [q for q, multiplicity in p.factor()[1] if multiplicity % 2]
    if any(_roots_inside(q, low, high) for q in odd):
        return False
    inside = _between(low, high)
    return any(p(fmpq(x.numerator, x.denominator)) > 0 for x in inside)


def _between(low: float, high: float) -> list[Fraction]:
    """More points strictly inside the interval than a polynomial of moderate degree has roots."""
    a = Fraction(low) if low > -math.inf else (Fraction(high) if high < math.inf else Fraction(0)) - 64
    b = Fraction(high) if high < math.inf else a + 128
    return [a + (b - a) * k / 128 for k in range(1, 128)]


def _roots_inside(q: fmpq_poly, low: float, high: float) -> int:
    """Distinct real roots in the open interval, by Sturm's theorem."""
    chain = [q, q.derivative()]
    while chain[-1].degree() > 0:
        remainder = -(chain[-2] % chain[-1])
        if remainder.degree() < 0:
            break
        chain.append(remainder)
    at_end = int(math.isfinite(high) and q(_rational(high)) == 0)
    return _changes(chain, low) - _changes(chain, high) - at_end


def _changes(chain: Sequence[fmpq_poly], x: float) -> int:
    """Sign changes along the chain at x, at infinity by the leading terms."""
    signs = []
    for p in chain:
        value = p(_rational(x)) if math.isfinite(x) else p[p.degree()] * (-1 if x < 0 and p.degree() % 2 else 1)
        if value != 0:
            signs.append(value > 0)
    return sum(a != b for a, b in itertools.pairwise(signs))


def _rational(x: float) -> fmpq:
    exact = Fraction(x)
    return fmpq(exact.numerator, exact.denominator)
