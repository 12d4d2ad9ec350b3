r"""Taylor series at one rational point with exact coefficients: sums of rational numbers times e^r, r rational.

Balls cannot say that a number is zero.  Where phi'' touches its bound at an end of a piece, as (x e^x)'' = (2 + x) e^x
does at -2, its value there is exactly zero in this ring.  Constant terms that are not in it (log 2) are remembered
as unknown: they do not enter derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import final

from flint import arb

from epigraph.certificate.germs import Unknown, exact, number
from epigraph.certificate.series import Attributes, polynomial, polynomials, rational, whole

ORDER = 9
Coefficients = tuple[Fraction, ...]
ZEROS: Coefficients = (Fraction(0),) * ORDER


def _product(a: Coefficients, b: Coefficients) -> Coefficients:
    return tuple(sum((a[i] * b[k - i] for i in range(k + 1)), Fraction(0)) for k in range(ORDER))


def _quotient(a: Coefficients, b: Coefficients) -> Coefficients:
    out: list[Fraction] = []
    for k in range(ORDER):
        out.append((a[k] - sum((out[i] * b[k - i] for i in range(k)), Fraction(0))) / b[0])
    return tuple(out)


def _derivative(a: Coefficients) -> Coefficients:
    return (*((k + 1) * a[k + 1] for k in range(ORDER - 1)), Fraction(0))


def _integral(a: Coefficients) -> Coefficients:
    """The integral from 0; the last coefficient of the integrand is not used."""
    return (Fraction(0), *(a[k] / (k + 1) for k in range(ORDER - 1)))


def _exp(a: Coefficients) -> Coefficients:
    """exp of a series without constant term, from f' = a' f."""
    out = [Fraction(1)]
    for k in range(1, ORDER):
        out.append(sum((i * a[i] * out[k - i] for i in range(1, k + 1)), Fraction(0)) / k)
    return tuple(out)


@final
class Exact:
    """sum over r of e^r times a rational power series; ``unknown``: plus some constant."""

    __slots__ = ("parts", "unknown")

    def __init__(self, parts: Mapping[Fraction, Coefficients], unknown: bool = False):
        self.parts = {r: c for r, c in parts.items() if any(c)}
        self.unknown = unknown

    def __add__(self, o: Exact) -> Exact:
        out = dict(self.parts)
        for r, c in o.parts.items():
            out[r] = tuple(x + y for x, y in zip(out[r], c, strict=True)) if r in out else c
        return Exact(out, self.unknown or o.unknown)

    def __neg__(self) -> Exact:
        return Exact({r: tuple(-x for x in c) for r, c in self.parts.items()}, self.unknown)

    def __sub__(self, o: Exact) -> Exact:
        return self + -o

    def __mul__(self, o: Exact) -> Exact:
        for x, y in ((self, o), (o, self)):
            if x.unknown and any(any(c[1:]) for c in y.parts.values()):
                raise Unknown
        if self.unknown and o.unknown:
            raise Unknown
        out = Exact({})
        for r, c in self.parts.items():
            for s, d in o.parts.items():
                out = out + Exact({r + s: _product(c, d)})
        return Exact(out.parts, self.unknown or o.unknown)

    def single(self) -> tuple[Fraction, Coefficients]:
        """The only part, with a constant term that is not zero."""
        if self.unknown or len(self.parts) != 1:
            raise Unknown
        ((r, c),) = self.parts.items()
        if c[0] == 0:
            raise Unknown
        return r, c

    def rational(self) -> Coefficients:
        if self.unknown or set(self.parts) - {Fraction(0)}:
            raise Unknown
        return self.parts.get(Fraction(0), ZEROS)

    def ball(self, k: int) -> arb:
        """The k-th coefficient; exactly zero where it is zero."""
        if k == 0 and self.unknown:
            raise Unknown
        return sum((number(c[k]) * number(r).exp() for r, c in self.parts.items() if c[k]), arb(0))


def of(c: Coefficients, unknown: bool = False) -> Exact:
    return Exact({Fraction(0): c}, unknown)


@final
class ExactArithmetic:
    """The arithmetic of exact series at one point."""

    def constant(self, value: arb) -> Exact:
        found = exact(value)
        if found is None:
            raise Unknown
        return of((found, *ZEROS[1:]))

    def variable(self, at: Fraction) -> Exact:
        return of((at, Fraction(1), *ZEROS[2:]))

    def unary(self, op: str, attributes: Attributes, x: Exact) -> Exact:
        if op == "power":
            return self._power(x, rational(attributes["exponent"]))
        if op in ("relu", "abs", "piecewise"):
            knots, pieces = polynomials(op, attributes)
            value = x.rational()[0]
            if value in knots:
                raise Unknown
            return polynomial(pieces[sum(1 for k in knots if value > k)], x, self.constant)
        if op not in _FUNCTIONS:
            raise Unknown
        return _FUNCTIONS[op](x)

    def _power(self, x: Exact, e: Fraction) -> Exact:
        if e.denominator != 1 or abs(e) > 32:
            raise Unknown
        n = int(e)
        if n == 0:
            return self.constant(arb(1))
        return whole(x, n) if n > 0 else _inverse(whole(x, -n))

    def divide(self, x: Exact, y: Exact) -> Exact:
        return x * _inverse(y)

    def maximum(self, x: Exact, y: Exact) -> Exact:
        gap = (x - y).rational()[0]
        if gap == 0:
            raise Unknown
        return x if gap > 0 else y

    def less(self, relation: str, x: Exact, y: Exact) -> bool:
        raise Unknown


def _inverse(x: Exact) -> Exact:
    r, c = x.single()
    return Exact({-r: _quotient((Fraction(1), *ZEROS[1:]), c)})


def _exponential(x: Exact) -> Exact:
    c = x.rational()
    return Exact({c[0]: _exp((Fraction(0), *c[1:]))})


def _logarithm(x: Exact) -> Exact:
    r, c = x.single()
    if c[0] < 0:
        raise Unknown
    out = _integral(_quotient(_derivative(c), c))
    return of((r, *out[1:]), unknown=c[0] != 1)


def _arctangent(x: Exact) -> Exact:
    c = x.rational()
    square = _product(c, c)
    return of(_integral(_quotient(_derivative(c), (square[0] + 1, *square[1:]))), unknown=c[0] != 0)


def _sigmoid(x: Exact) -> Exact:
    return _inverse(ONE + _exponential(-x))


def _tanh(x: Exact) -> Exact:
    e = _exponential(x + x)
    return (e - ONE) * _inverse(e + ONE)


def _softplus(x: Exact) -> Exact:
    return _logarithm(ONE + _exponential(x))


ONE = of((Fraction(1), *ZEROS[1:]))
_FUNCTIONS: dict[str, Callable[[Exact], Exact]] = {
    "neg": lambda x: -x,
    "exp": _exponential,
    "log": _logarithm,
    "atan": _arctangent,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "softplus": _softplus,
    "silu": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * _tanh(_softplus(x)),
    "xlogx": lambda x: x * _logarithm(x),
}
