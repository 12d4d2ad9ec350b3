r"""Jets of second order: value, slope and second derivative of a function of one variable, in balls, across kinks.

The second derivative may hold point masses at kinks: ``up`` says that positive ones may occur, ``down`` negative ones.
A function with kinks is the limit of smooth functions whose derivatives lie in the same balls, so that bounds hold for
the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from flint import arb, arb_series

from epigraph.certificate.germs import Unknown, number
from epigraph.certificate.series import ONE, ZERO, Attributes, SeriesArithmetic, met, polynomials, rational


@final
@dataclass(frozen=True, slots=True)
class Jet:
    """Balls around value, slope and the density of the second derivative; signs of the point masses that it may have."""

    value: arb
    slope: arb
    second: arb
    up: bool = False
    down: bool = False

    def __add__(self, o: Jet) -> Jet:
        return Jet(self.value + o.value, self.slope + o.slope, self.second + o.second,
                   self.up or o.up, self.down or o.down)  # fmt: skip

    def __neg__(self) -> Jet:
        return Jet(-self.value, -self.slope, -self.second, self.down, self.up)

    def __sub__(self, o: Jet) -> Jet:
        return self + -o

    def __mul__(self, o: Jet) -> Jet:
        """(f g)'' = f'' g + 2 f' g' + f g''; a mass times a continuous function has the sign of the product."""
        masses = [_signed(self, o.value), _signed(o, self.value)]
        second = self.second * o.value + 2 * self.slope * o.slope + self.value * o.second
        return Jet(self.value * o.value, self.slope * o.value + self.value * o.slope, second,
                   any(m[0] for m in masses), any(m[1] for m in masses))  # fmt: skip


def _signed(x: Jet, factor: arb) -> tuple[bool, bool]:
    """Masses of x after multiplication by a continuous factor."""
    if factor >= 0:
        return x.up, x.down
    if factor <= 0:
        return x.down, x.up
    return (True, True) if x.up or x.down else (False, False)


@final
class JetArithmetic:
    """Jets of second order that may cross kinks."""

    def __init__(self) -> None:
        self._series = SeriesArithmetic()
        self.arguments: list[Jet] = []  # of the kinked operators, and their knots
        self.knots: list[Sequence[Fraction]] = []

    def constant(self, value: arb) -> Jet:
        return Jet(value, ZERO, ZERO)

    def unary(self, op: str, attributes: Attributes, x: Jet) -> Jet:
        if op == "neg":
            return -x
        if op == "elu":
            self._record(x, [Fraction(0)])
            return self._chain(x, *_elu(number(rational(attributes["alpha"])), x.value))
        if op in ("relu", "abs", "piecewise"):
            knots, pieces = polynomials(op, attributes)
            self._record(x, knots)
            return self._chain(x, *_kinked(knots, pieces, x.value))
        s = self._series.unary(op, attributes, arb_series([x.value, 1]))
        return self._chain(x, s[0], s[1], 2 * s[2], False, False)

    def _record(self, x: Jet, knots: Sequence[Fraction]) -> None:
        self.arguments.append(x)
        self.knots.append(knots)

    @staticmethod
    def _chain(x: Jet, f: arb, f1: arb, f2: arb, up: bool, down: bool) -> Jet:
        """f(g)'' = f''(g) g'^2 + f'(g) g''; the masses of f'' are multiplied by |g'|."""
        masses = _signed(x, f1)
        return Jet(f, f1 * x.slope, f2 * square(x.slope) + f1 * x.second, up or masses[0], down or masses[1])

    def maximum(self, x: Jet, y: Jet) -> Jet:
        self._record(x - y, [Fraction(0)])
        if x.value > y.value or y.value > x.value:
            return x if x.value > y.value else y
        return Jet(x.value.max(y.value), x.slope.union(y.slope), x.second.union(y.second), True, x.down or y.down)

    def less(self, relation: str, x: Jet, y: Jet) -> bool:
        if x.value < y.value or y.value < x.value:
            return relation != "eq" and bool(x.value < y.value)
        raise Unknown

    def divide(self, x: Jet, y: Jet) -> Jet:
        return x * self.unary("power", {"exponent": Fraction(-1)}, y)


def square(x: arb) -> arb:
    """x^2 as a ball without negative numbers beyond rounding."""
    top = x.abs_upper()
    return x * x if x >= 0 or x <= 0 else ZERO.union(top * top)


def _elu(alpha: arb, x: arb) -> tuple[arb, arb, arb, bool, bool]:
    """x above 0, alpha (e^x - 1) below: the slope jumps from alpha to 1."""
    e = x.exp()
    if x > 0:
        return x, ONE, ZERO, False, False
    if x < 0:
        return alpha * (e - 1), alpha * e, alpha * e, False, False
    below = ZERO.union(x.lower().exp())
    value = x.max(ZERO) + (alpha * (x.min(ZERO).exp() - 1))
    return (
        value,
        ONE.union(alpha * below).union(alpha),
        (alpha * below).union(ZERO).union(alpha),
        bool(not alpha > 1),
        bool(not alpha <= 1),
    )


def _kinked(
    knots: Sequence[Fraction], pieces: Sequence[Sequence[Fraction]], x: arb
) -> tuple[arb, arb, arb, bool, bool]:
    """Value, slope and second derivative of a piecewise quadratic over the pieces that the ball may meet."""
    pieces_met = met(knots, x)
    parts = []
    for i in pieces_met:
        c = [number(v) for v in (*pieces[i], Fraction(0), Fraction(0))[:3]]
        parts.append((c[0] + x * (c[1] + x * c[2]), c[1] + 2 * c[2] * x, 2 * c[2]))
    value, slope, second = parts[0]
    for part in parts[1:]:
        value, slope, second = value.union(part[0]), slope.union(part[1]), second.union(part[2])
    up = down = False
    for i in pieces_met[:-1]:
        jump = _slope_at(pieces[i + 1], knots[i]) - _slope_at(pieces[i], knots[i])
        up, down = up or jump > 0, down or jump < 0
    return value, slope, second, up, down


def _slope_at(piece: Sequence[Fraction], x: Fraction) -> Fraction:
    return sum((k * c * x ** (k - 1) for k, c in enumerate(piece) if k), Fraction(0))
