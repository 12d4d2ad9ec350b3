r"""Proofs that phi'' >= m on an interval, for a function phi of one variable inside a graph.

On pieces between finite points phi'' is enclosed by its Taylor polynomial in balls, with the remainder over the whole
piece; across kinks by jets of second order; at infinite ends and beside singular ones by germs.  Kinks at the ends of
pieces are looked at by themselves: the slope must not fall there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, final

from flint import arb, arb_series, ctx

from epigraph.certificate.ends import GermArithmetic, GermJet
from epigraph.certificate.exactseries import ExactArithmetic
from epigraph.certificate.germs import LINEAR, UNIT, Germ, Monomial, Unknown, exact, number
from epigraph.certificate.germs import ONE as CONSTANT
from epigraph.certificate.jets import Jet, JetArithmetic
from epigraph.certificate.onevariable import Functions, Term
from epigraph.certificate.series import SeriesArithmetic

TERMS = 6  # of the Taylor polynomial of the second derivative
PIECES = 4000  # evaluations in one proof
SHIFTS = 8
INVERSE: Monomial = (0, -UNIT)
NARROW = Fraction(1, 2**30)  # relative width of a piece at which a proof is given up
STARTS = (16, 64, 256, 4, 2048, 16384, 2**20)  # where the ends may begin


@final
class SecondDerivative:
    """Proves phi'' >= m for phi = the sum of the terms, on [low, high]; the precision of FLINT is the caller's.

    What has been evaluated is kept for the next m.
    """

    def __init__(self, functions: Functions, terms: Sequence[Term], low: float, high: float):
        self._functions, self._terms, self._low, self._high = functions, terms, low, high
        self._points: dict[Fraction, tuple[JetArithmetic, bool]] = {}
        self._known: dict[Any, Any] = {}
        self._special: set[Fraction] = set()
        self._numbers: dict[Fraction, None] = {}
        self.hopeless = False  # no other bound will do better
        self._kinked = True  # until an evaluation has met no kinked operator
        self._least, self._left = arb(0), 0

    def at_least(self, least: Fraction, pieces: int = PIECES) -> bool:
        """Is phi'' >= least proved with at most so many pieces?"""
        self._least, self._left = number(least), pieces
        try:
            return self._low == self._high or self._everywhere()
        except (Unknown, ZeroDivisionError, ValueError):
            return False

    def _everywhere(self) -> bool:
        low, high = self._low, self._high
        if low == -math.inf and high == math.inf and self._piece(None, None):
            return True
        first = self._end(1) if math.isinf(low) else self._beside(low, 1)
        last = None if first is None else self._end(-1) if math.isinf(high) else self._beside(high, -1)
        if first is None or last is None:
            return False
        if first == last and low < first < high:
            return not self._point(first)[1]  # both ends stop at this point: a kink there is in neither
        return first > last or self._between(first, last)

    def constant(self) -> Fraction | None:
        """The second derivative where it is one exact number on the whole line, as that of a square."""
        series = self._once(("far", None, None), lambda: self._smooth(arb("+/- inf"), None, None))
        return None if series is None else exact(_coefficient(series, 0))

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        """The result of an evaluation, None where it is not known; each is made once."""
        if key not in self._known:
            try:
                self._known[key] = make()
            except (Unknown, ZeroDivisionError, ValueError):
                self._known[key] = None
        return self._known[key]

    # the ends
    def _end(self, direction: int) -> Fraction | None:
        """Where the germ at an infinite end begins to satisfy the bound.

        z = c - direction u: with c one of the function's own numbers, terms such as e^(z - c) have exact coefficients
        that can cancel.
        """
        for start in STARTS:
            if self._germ(Fraction(start), Fraction(0), -direction, LINEAR):
                return Fraction(-direction * start)
        shifts = [s * c for c in self._numbers if 0 < abs(c) <= 1024 for s in (1, -1)]
        for shift in shifts[:SHIFTS]:
            for start in STARTS[:3]:
                if self._germ(Fraction(start), shift, -direction, LINEAR):
                    return shift - direction * start
        return None

    def _beside(self, end: float, direction: int) -> Fraction | None:
        """The end itself where the function is smooth there, else where the germ beside it ends: z = e + direction/u."""
        at = Fraction(end)
        try:
            self._functions.evaluate(self._terms, JetArithmetic(), Jet(number(at), arb(1), arb(0)))
            return at
        except (Unknown, ZeroDivisionError, ValueError):
            pass
        for start in STARTS:
            if self._germ(Fraction(start), at, direction, INVERSE):
                return at + direction * Fraction(1, start)
        return None

    def _germ(self, start: Fraction, base: Fraction, direction: int, monomial: Monomial) -> bool:
        key = ("germ", start, base, direction, monomial)
        second = self._once(key, lambda: self._near_end(start, base, direction, monomial))
        try:
            return second is not None and (second - second.constant(self._least)).nonnegative()
        except Unknown:
            return False

    def _near_end(self, start: Fraction, base: Fraction, direction: int, monomial: Monomial) -> Germ | None:
        """phi'' as a germ in u for z = base + direction u, or + direction/u."""
        value = Germ(start, {monomial: arb(direction), CONSTANT: number(base)})
        variable = GermJet(value, value.constant(arb(1)), Germ(start, {}))
        arithmetic = GermArithmetic(start)
        try:
            return self._functions.evaluate(self._terms, arithmetic, variable).second
        finally:
            self._numbers.update(arithmetic.constants)

    # pieces
    def _between(self, low: Fraction, high: Fraction) -> bool:
        """Bisection; zero is a cut, since kinks and inflections like to lie there."""
        cuts = [low, *(c for c in (Fraction(0),) if low < c < high), high]
        self._special = set(cuts)
        pending = list(itertools.pairwise(cuts))
        while pending:
            a, b = pending.pop()
            self._left -= 1
            if self._left < 0:
                return False
            if not (_moderate(a, b) and self._piece(a, b)):
                knot = self._knot(a, b)
                middle = _middle(a, b) if knot is None else knot
                if knot is not None and (knot in self._special or self._point(knot)[1]):
                    self.hopeless = True  # the slope falls there
                    return False
                self._special.update(() if knot is None else (knot,))
                if not a < middle < b or b - a < NARROW * max(1, abs(a), abs(b)):
                    return False
                pending += [(a, middle), (middle, b)]
        return True

    def _piece(self, a: Fraction | None, b: Fraction | None) -> bool:
        """The bound on [a, b], or on the whole line; the first derivative does not fall at kinks in it."""
        box = arb("+/- inf") if a is None or b is None else number(a).union(number(b))
        cap, ctx.cap = ctx.cap, TERMS + 3
        try:
            far = self._once(("far", a, b), lambda: self._smooth(box, a, b))
            if far is None:
                return self._across(box)
            if _coefficient(far, 0) >= self._least:
                return True
            if a is None or b is None:
                return False
            near = self._once(("near", a, b), lambda: self._series(number((a + b) / 2), SeriesArithmetic()))
            if near is not None and self._taylor(near, far, number((b - a) / 2)):
                return True
            return self._from_an_end(far, a, b)
        except (Unknown, ZeroDivisionError, ValueError):
            return False
        finally:
            ctx.cap = cap

    def _smooth(self, box: arb, a: Fraction | None, b: Fraction | None) -> arb_series | None:
        """The series on a piece; where kinks may lie at its ends the slope must not fall there."""
        arithmetic = SeriesArithmetic()
        try:
            return self._series(box, arithmetic)
        except (Unknown, ZeroDivisionError, ValueError):
            if not arithmetic.touched or a is None or b is None:
                return None
        ends = [self._point(x) for x in (a, b)]
        if any(down for _, down in ends):
            return None
        try:
            return self._series(box, SeriesArithmetic((ends[0][0].arguments, ends[1][0].arguments)))
        except (Unknown, ZeroDivisionError, ValueError):
            return None

    def _point(self, at: Fraction) -> tuple[JetArithmetic, bool]:
        """The arguments of the kinked operators at a point, and whether the slope may fall there."""
        if at not in self._points:
            arithmetic = JetArithmetic()
            jet = self._functions.evaluate(self._terms, arithmetic, Jet(number(at), arb(1), arb(0)))
            self._points[at] = arithmetic, jet.down
            self._kinked = bool(arithmetic.arguments)
        return self._points[at]

    def _knot(self, a: Fraction, b: Fraction) -> Fraction | None:
        """A kink inside of the piece, where it lies at an argument that is linear with exact numbers."""
        middle = (a + b) / 2
        if not self._kinked:
            return None
        try:
            arithmetic, _ = self._point(middle)
        except (Unknown, ZeroDivisionError, ValueError):
            return None
        for jet, knots in zip(arithmetic.arguments, arithmetic.knots, strict=True):
            for knot in knots if jet.second.is_zero() and not jet.slope.contains(0) else ():
                at = exact(number(middle) + (number(knot) - jet.value) / jet.slope)
                if at is not None and a < at < b:
                    return at
        return None

    def _series(self, at: arb, arithmetic: SeriesArithmetic) -> arb_series:
        return self._functions.evaluate(self._terms, arithmetic, arb_series([at, 1]))

    def _taylor(self, near: arb_series, far: arb_series, h: arb) -> bool:
        """phi''(c + t) = b_0 + b_1 t + b_2 t^2 + ... for |t| <= h: the quadratic exactly, the rest by sizes."""
        b = [_coefficient(near, k) for k in range(TERMS)]
        rest = sum((abs(b[k]) * h**k for k in range(3, TERMS)), abs(_coefficient(far, TERMS)) * h**TERMS)
        slack = b[0] - rest - self._least
        if slack >= abs(b[1]) * h - (b[2] * h * h).min(arb(0)):
            return True
        return bool(b[2] > 0 and slack >= b[1] * b[1] / (4 * b[2]))

    def _from_an_end(self, far: arb_series, a: Fraction, b: Fraction) -> bool:
        """phi'' touches the bound at an end of the piece: the first derivatives there, and the next on all of it."""
        for end, direction in ((a, 1), (b, -1)):
            if b - a > 1 or end not in self._special:
                continue
            near = self._once(("end", end), lambda end=end: self._at(end))
            if near is None:
                continue
            level = near[0] - self._least
            for k in range(1, TERMS):
                if not level >= 0:
                    break
                if direction**k * _coefficient(far, k) >= 0:
                    return True
                level = direction**k * near[k]
        return False

    def _at(self, end: Fraction) -> list[arb]:
        """The Taylor coefficients of the second derivative at a point, exact zeros where they can be found."""
        try:
            arithmetic = ExactArithmetic()
            series = self._functions.evaluate(self._terms, arithmetic, arithmetic.variable(end))
            return [(k + 2) * (k + 1) * series.ball(k + 2) for k in range(TERMS)]
        except (Unknown, ZeroDivisionError):
            series = self._series(number(end), SeriesArithmetic())
            return [_coefficient(series, k) for k in range(TERMS)]

    def _across(self, box: arb) -> bool:
        jet = self._functions.evaluate(self._terms, JetArithmetic(), Jet(box, arb(1), arb(0)))
        return not jet.down and bool(jet.second >= self._least)


def _moderate(a: Fraction, b: Fraction) -> bool:
    """Is the piece short enough, for its distance from zero, to be worth a look?"""
    return b - a <= 4 or b - a <= min(abs(a), abs(b))


def _coefficient(series: arb_series, k: int) -> arb:
    """The k-th Taylor coefficient of the second derivative."""
    return (k + 2) * (k + 1) * series[k + 2]


def _middle(a: Fraction, b: Fraction) -> Fraction:
    """A short dyadic number near the middle; between numbers of very different size near their geometric mean."""
    width = b - a
    m = (a + b) / 2
    for big, small in ((a, b), (b, a)):
        if abs(big) > 8 and abs(big) > 4 * abs(small):
            m = (big + 3 * small) / 4
    scale = Fraction(2) ** (math.frexp(float(width))[1] - 4)
    return round(m / scale) * scale
