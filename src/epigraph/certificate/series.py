"""Power series of functions of one variable in balls: the Taylor series about every point of a ball at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, final

from flint import arb, arb_series, fmpq

from epigraph.certificate.germs import Unknown, number

if TYPE_CHECKING:
    from epigraph.certificate.jets import Jet

Attributes = Mapping[str, Any]
ZERO, ONE = arb(0), arb(1)


def rational(x: Any) -> Fraction:
    return Fraction(int(x.p), int(x.q)) if isinstance(x, fmpq) else Fraction(x)


# power series -------------------------------------------------------------------------------------------------------
def _finite(s: arb_series) -> arb_series:
    if not all(c.is_finite() for c in s.coeffs()):
        raise Unknown
    return s


def _positive(s: arb_series) -> arb_series:
    if not s[0] > 0:
        raise Unknown
    return s


def _sigmoid(s: arb_series) -> arb_series:
    return 1 / (1 + (-s).exp())


def _softplus(s: arb_series) -> arb_series:
    return (1 + s.exp()).log() if not s[0] > 0 else s + (1 + (-s).exp()).log()


def _tanh(s: arb_series) -> arb_series:
    if s[0] > 0:
        e = (-2 * s).exp()
        return (1 - e) / (1 + e)
    e = (2 * s).exp()
    return (e - 1) / (1 + e)


def _normal(s: arb_series) -> arb_series:
    """The normal distribution function; through erfc, which keeps its digits far below zero."""
    return (-s / arb(2).sqrt()).erfc() / 2


SMOOTH: dict[str, Callable[[arb_series], arb_series]] = {
    "neg": lambda s: -s,
    "exp": lambda s: s.exp(),
    "log": lambda s: _positive(s).log(),
    "sqrt": lambda s: _positive(s).sqrt(),
    "sin": lambda s: s.sin(),
    "cos": lambda s: s.cos(),
    "atan": lambda s: s.atan(),
    "erf": lambda s: s.erf(),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "softplus": _softplus,
    "silu": lambda s: s * _sigmoid(s),
    "gelu": lambda s: s * _normal(s),
    "mish": lambda s: s * _tanh(_softplus(s)),
    "log_ndtr": lambda s: _normal(s).log(),
    "xlogx": lambda s: s * _positive(s).log(),
}


def whole(s: Any, exponent: int) -> Any:
    """s^n for n >= 1 by repeated squaring; works for every arithmetic."""
    out, factor = None, s
    while exponent:
        if exponent & 1:
            out = factor if out is None else out * factor
        exponent >>= 1
        if exponent:
            factor = factor * factor
    return out


def _power(s: arb_series, exponent: Fraction) -> arb_series:
    if exponent.denominator == 1 and abs(exponent) <= 64:
        n = int(exponent)
        return arb_series([1]) if n == 0 else whole(s, n) if n > 0 else _finite(1 / whole(s, -n))
    return _finite((_positive(s).log() * number(exponent)).exp())


def met(knots: Sequence[Fraction], x: arb) -> range:
    """Indices of the pieces that a ball may meet."""
    first = sum(1 for k in knots if x > number(k))
    last = len(knots) - sum(1 for k in knots if x < number(k))
    return range(first, last + 1)


def polynomials(op: str, attributes: Attributes) -> tuple[list[Fraction], list[list[Fraction]]]:
    """A function with kinks as knots and polynomials."""
    zero, one = Fraction(0), Fraction(1)
    if op == "relu":
        return [zero], [[zero], [zero, one]]
    if op == "abs":
        return [zero], [[zero, -one], [zero, one]]
    return [rational(k) for k in attributes["knots"]], [[rational(c) for c in p] for p in attributes["pieces"]]


def polynomial(coefficients: Sequence[Fraction], s: Any, constant: Callable[[arb], Any]) -> Any:
    out = constant(number(coefficients[-1]))
    for c in reversed(coefficients[:-1]):
        out = out * s + constant(number(c))
    return out


@final
class SeriesArithmetic:
    """Taylor series in balls; ``Unknown`` where an operator is not smooth on all of the ball.

    A ball cannot end exactly at a kink.  Where the argument of a kinked operator is monotone, its values at the two ends
    of the piece decide the side: ``ends`` has the arguments of all kinked operators there, in the order of their calls.
    ``touched`` says that this was needed.
    """

    def __init__(self, ends: tuple[Sequence[Jet], Sequence[Jet]] | None = None):
        self._ends, self._calls, self.touched = ends, 0, False

    def constant(self, value: arb) -> arb_series:
        return arb_series([value])

    def unary(self, op: str, attributes: Attributes, s: arb_series) -> arb_series:
        if op in SMOOTH:
            return _finite(SMOOTH[op](s))
        if op == "power":
            return _power(s, rational(attributes["exponent"]))
        if op == "elu":
            alpha = number(rational(attributes["alpha"]))
            return s if self._side([Fraction(0)], s) else alpha * (s.exp() - 1)
        if op in ("relu", "abs", "piecewise"):
            knots, pieces = polynomials(op, attributes)
            return polynomial(pieces[self._side(knots, s)], s, self.constant)
        if op == "sign" and (s[0] > 0 or s[0] < 0):
            return self.constant(ONE if s[0] > 0 else -ONE)
        raise Unknown

    def _side(self, knots: Sequence[Fraction], x: arb_series) -> int:
        """The piece in which a ball lies, perhaps with a knot at an end."""
        found, call = met(knots, x[0]), self._calls
        self._calls += 1
        if len(found) == 1:
            return found[0]
        self.touched = True
        if self._ends is None or not (x[1] > 0 or x[1] < 0):
            raise Unknown
        values = [end[call].value for end in self._ends]
        for i in found:
            above = i == 0 or all(v >= number(knots[i - 1]) for v in values)
            below = i == len(knots) or all(v <= number(knots[i]) for v in values)
            if above and below:
                return i
        raise Unknown

    def maximum(self, x: arb_series, y: arb_series) -> arb_series:
        return x if self._side([Fraction(0)], x - y) else y

    def less(self, relation: str, x: arb_series, y: arb_series) -> bool:
        if x[0] < y[0] or y[0] < x[0]:
            return relation != "eq" and bool(x[0] < y[0])
        raise Unknown

    def divide(self, x: arb_series, y: arb_series) -> arb_series:
        return _finite(x / y)
