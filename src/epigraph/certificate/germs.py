r"""Functions near an end of the line: sums of c u^p e^(r u) for u >= T, with balls c and rational p and r.

As z goes to an end (z = u, z = -u, or z = e + 1/u, z = e - 1/u beside a finite end e) most functions of one variable
are such sums up to a remainder, and the remainder is a ball times a monomial that is smaller still.  Every germ stands
for a function of u >= T in this way: some choice of numbers in the balls, which may depend on u, gives its value.
Intervals alone cannot decide the sign of a second derivative that goes to zero, or the value of infinity times zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import final

from flint import arb, arb_series, ctx, fmpq

Monomial = tuple[int, int]  # (r, p) times UNIT: e^(r u) u^p, in the order of growth

UNIT = 2**80 * 3465  # exponents are whole multiples of its reciprocal
ONE: Monomial = (0, 0)
LINEAR: Monomial = (0, UNIT)
KEPT = 8  # terms of a sum; smaller ones are gathered in the last
ORDER = 5  # terms of a Taylor expansion about a limit


class Unknown(Exception):
    """A function whose growth is not a sum of these monomials."""


def exponent(x: Fraction) -> int:
    """An exponent in units; raises ``Unknown`` where it is no whole number of them."""
    found = x * UNIT
    if found.denominator != 1:
        raise Unknown
    return found.numerator


def number(x: Fraction) -> arb:
    return arb(fmpq(x.numerator, x.denominator))


@final
class Germ:
    """A function of u >= ``start``; monomials with exactly zero coefficients are left out."""

    __slots__ = ("start", "terms")

    def __init__(self, start: Fraction, terms: Mapping[Monomial, arb]):
        kept = {m: c for m, c in terms.items() if not c.is_zero()}
        if any(not c.is_finite() for c in kept.values()):
            raise Unknown
        self.start = start
        self.terms = dict(sorted(kept.items(), reverse=True))
        if len(self.terms) > KEPT:
            self._gather()

    def _gather(self) -> None:
        """Terms beyond the last one kept become part of its coefficient, where they are smaller for all u >= T."""
        items = list(self.terms.items())
        self.terms = dict(items[:KEPT])
        last, total = items[KEPT - 1]
        for monomial, c in items[KEPT:]:
            total = total + c * arb(0).union(_ratio(monomial, last, self.start))
        self.terms[last] = total

    @property
    def zero(self) -> bool:
        return not self.terms

    def constant(self, value: arb) -> Germ:
        return Germ(self.start, {ONE: value})

    def __add__(self, other: Germ) -> Germ:
        out = dict(self.terms)
        for m, c in other.terms.items():
            out[m] = out[m] + c if m in out else c
        return Germ(self.start, out)

    def __neg__(self) -> Germ:
        return Germ(self.start, {m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Germ) -> Germ:
        return self + -other

    def __mul__(self, other: Germ) -> Germ:
        out: dict[Monomial, arb] = {}
        for m, c in self.terms.items():
            for n, d in other.terms.items():
                key = (m[0] + n[0], m[1] + n[1])
                out[key] = out[key] + c * d if key in out else c * d
        return Germ(self.start, out)

    def scaled(self, c: arb) -> Germ:
        return Germ(self.start, {m: c * d for m, d in self.terms.items()})

    def lead(self) -> tuple[Monomial, arb]:
        """The term that grows fastest; its coefficient must have a sign."""
        for m, c in self.terms.items():
            if not (c > 0 or c < 0):
                raise Unknown
            return m, c
        raise Unknown

    def ball(self) -> arb:
        """A ball around all values."""
        total = arb(0)
        for m, c in self.terms.items():
            total = total + (c if m == ONE else c * arb(0).union(_ratio(m, ONE, self.start)))
        return total

    def nonnegative(self) -> bool:
        """Is the function >= 0 for all u >= T?  The terms after a leading one with a sign are compared with it."""
        items = list(self.terms.items())
        while items and items[0][1] >= 0 and not items[0][1] > 0:
            items.pop(0)  # a term that is not negative
        if not items:
            return True
        (first, c), rest = items[0], items[1:]
        if not c > 0:
            return False
        try:
            below = sum((d.abs_upper() * _ratio(m, first, self.start) for m, d in rest if not d >= 0), arb(0))
        except Unknown:
            return False
        return bool(c >= below)

    def small(self) -> Germ:
        """The function without its constant term; all that is left must go to zero."""
        rest = {m: c for m, c in self.terms.items() if m != ONE}
        if any(m > ONE for m in rest):
            raise Unknown
        return Germ(self.start, rest)

    def sign(self) -> int:
        """The sign for all u >= T."""
        if self.nonnegative():
            return 1
        if (-self).nonnegative():
            return -1
        raise Unknown


def _ratio(small: Monomial, large: Monomial, start: Fraction) -> arb:
    """The supremum over u >= T of a monomial over a larger one: its value at T, once it falls from there on."""
    if small == large:
        return arb(1)
    r, p = Fraction(small[0] - large[0], UNIT), Fraction(small[1] - large[1], UNIT)
    if r > 0 or (r == 0 and p > 0) or p > -r * start:
        raise Unknown
    return (number(r * start).exp() * number(start) ** number(p)).upper()


def power(g: Germ, e: Fraction) -> Germ:
    """g^e: c^e m^e (1 + small)^e for the leading term c m, which must be positive unless e is a whole number."""
    if e.denominator == 1 and 0 <= e <= 16:
        out = g.constant(arb(1))
        for _ in range(int(e)):
            out = out * g
        return out
    m, c = g.lead()
    odd = e.denominator == 1 and e.numerator % 2 == 1
    if c < 0 and e.denominator != 1:
        raise Unknown
    rest = Germ(g.start, {(n[0] - m[0], n[1] - m[1]): d / c for n, d in g.terms.items() if n != m})
    factor = expanded(rest + rest.constant(arb(1)), lambda s: _series_power(s, e))
    size = abs(c) ** number(e)
    key = exponent(e * Fraction(m[0], UNIT)), exponent(e * Fraction(m[1], UNIT))
    return factor * Germ(g.start, {key: -size if c < 0 and odd else size})


def _series_power(s: arb_series, exponent: Fraction) -> arb_series:
    return 1 / s if exponent == -1 else (s.log() * number(exponent)).exp()


def reciprocal(g: Germ) -> Germ:
    return power(g, Fraction(-1))


def expanded(g: Germ, f: Callable[[arb_series], arb_series]) -> Germ:
    """f(c + small) = f(c) + f'(c) small + ... + f^(k)(all values)/k! small^k."""
    small = g.small()
    centre = g.terms.get(ONE, arb(0))
    cap, ctx.cap = ctx.cap, ORDER + 1
    try:
        near, far = _coefficients(f(arb_series([centre, 1]))), _coefficients(f(arb_series([g.ball(), 1])))
    except (ValueError, ZeroDivisionError) as error:
        raise Unknown from error
    finally:
        ctx.cap = cap
    out, step = g.constant(arb(0)), g.constant(arb(1))
    for k in range(ORDER):
        out, step = out + step.scaled(near[k]), step * small
    return out + step.scaled(far[ORDER])


def _coefficients(series: arb_series) -> list[arb]:
    found = [series[k] for k in range(ORDER + 1)]
    if not all(c.is_finite() for c in found):
        raise Unknown
    return found


def bounded(g: Germ) -> bool:
    """Does g have a limit?"""
    return all(m <= ONE for m in g.terms)


def exponential(g: Germ) -> Germ:
    """e^g for g = a u + c + small with an exact a; below every e^(-k u) where -g grows faster than u."""
    if bounded(g):
        return expanded(g, lambda s: s.exp())
    m, c = g.lead()
    if m == LINEAR and (rate := exact(c)) is not None:
        rest = Germ(g.start, {n: d for n, d in g.terms.items() if n != m})
        return expanded(rest, lambda s: s.exp()) * Germ(g.start, {(exponent(rate), 0): arb(1)})
    faster = 2 * g.start
    if c < 0 and (-g - Germ(g.start, {LINEAR: number(faster)})).nonnegative():
        return Germ(g.start, {(exponent(-faster), 0): arb(0).union(arb(1))})
    if c < 0 and (-g - Germ(g.start, {LINEAR: arb(1)})).nonnegative():
        return Germ(g.start, {(-UNIT, 0): arb(0).union(arb(1))})
    raise Unknown


def exact(c: arb) -> Fraction | None:
    """The rational number that a ball of radius zero is."""
    if c.rad() != 0:
        return None
    mantissa, exponent = c.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent) if abs(int(exponent)) < 200 else None


def logarithm(g: Germ) -> Germ:
    """log g for g = c e^(r u) (1 + small); with a power of u in front its growth is no monomial."""
    m, c = g.lead()
    if m[1] != 0 or not c > 0:
        raise Unknown
    rest = Germ(g.start, {(n[0] - m[0], n[1] - m[1]): d / c for n, d in g.terms.items()})
    linear = Germ(g.start, {LINEAR: number(Fraction(m[0], UNIT))})
    return expanded(rest, lambda s: s.log()) + linear + g.constant(c.log())


__all__ = [
    "Germ",
    "Unknown",
    "bounded",
    "exact",
    "expanded",
    "exponential",
    "logarithm",
    "number",
    "power",
    "reciprocal",
]
