r"""Value and two derivatives of a function of one variable as germs at an end of its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from flint import arb, arb_series, ctx

from epigraph.certificate import germs
from epigraph.certificate.germs import Germ, Unknown, number
from epigraph.certificate.series import ONE, SMOOTH, ZERO, Attributes, polynomial, polynomials, rational, whole


@final
@dataclass(frozen=True, slots=True)
class GermJet:
    """Value and two derivatives near an end; None where the growth is no sum of monomials."""

    value: Germ | None
    slope: Germ | None
    second: Germ | None

    def __add__(self, o: GermJet) -> GermJet:
        return GermJet(_plus(self.value, o.value), _plus(self.slope, o.slope), _plus(self.second, o.second))

    def __neg__(self) -> GermJet:
        return GermJet(*(None if g is None else -g for g in (self.value, self.slope, self.second)))

    def __sub__(self, o: GermJet) -> GermJet:
        return self + -o

    def __mul__(self, o: GermJet) -> GermJet:
        cross = _times(self.slope, o.slope)
        outer = _plus(_times(o.value, self.second), _times(self.value, o.second))
        return GermJet(
            _times(self.value, o.value),
            _plus(_times(o.value, self.slope), _times(self.value, o.slope)),
            _plus(outer, _plus(cross, cross)),
        )


def _plus(x: Germ | None, y: Germ | None) -> Germ | None:
    return None if x is None or y is None else x + y


def _times(x: Germ | None, y: Germ | None) -> Germ | None:
    """The product; zero times an unknown function is zero."""
    for one in (x, y):
        if one is not None and one.zero:
            return one
    return None if x is None or y is None else x * y


@final
class GermArithmetic:
    """Germs for u >= start; comparisons and steps are refused, since a closed end may differ from its limit."""

    def __init__(self, start: Fraction):
        self.start = start
        self.constants: dict[Fraction, None] = {}  # numbers of the function, in the order in which they are met

    def constant(self, value: arb) -> GermJet:
        if (met := germs.exact(value)) is not None:
            self.constants[met] = None
        nothing = Germ(self.start, {})
        return GermJet(Germ(self.start, {germs.ONE: value}), nothing, nothing)

    def unary(self, op: str, attributes: Attributes, x: GermJet) -> GermJet:
        if op == "neg":
            return -x
        if x.value is not None and x.slope is not None and x.slope.zero and op in SMOOTH:
            return self.constant(SMOOTH[op](arb_series([x.value.ball()]))[0])
        if op in _PRODUCTS:
            return x * _PRODUCTS[op](self, x)
        if x.value is None:
            raise Unknown
        if op == "power":
            e = rational(attributes["exponent"])
            if e.denominator == 1 and 1 <= e <= 16:
                return whole(x, int(e))
            return self._chain(x, *_germ_power(x.value, e))
        if op in ("relu", "abs", "piecewise"):
            knots, pieces = polynomials(op, attributes)
            index = sum(1 for k in knots if (x.value - x.value.constant(number(k))).sign() > 0)
            return polynomial(pieces[index], x, self.constant)
        if op == "elu":
            alpha = number(rational(attributes["alpha"]))
            return (
                x
                if x.value.sign() > 0
                else self.constant(alpha) * (self._chain(x, *_germ_exp(x.value)) - self.constant(ONE))
            )
        if op not in _GERMS:
            raise Unknown
        return self._chain(x, *_GERMS[op](x.value))

    @staticmethod
    def _chain(x: GermJet, f: Germ | None, f1: Germ, f2: Germ) -> GermJet:
        curved = _times(f2, _times(x.slope, x.slope))
        return GermJet(f, _times(f1, x.slope), _plus(curved, _times(f1, x.second)))

    def maximum(self, x: GermJet, y: GermJet) -> GermJet:
        if x.value is None or y.value is None:
            raise Unknown
        return x if (x.value - y.value).sign() > 0 else y

    def less(self, relation: str, x: GermJet, y: GermJet) -> bool:
        raise Unknown

    def divide(self, x: GermJet, y: GermJet) -> GermJet:
        if y.value is None:
            raise Unknown
        return x * self._chain(y, *_germ_power(y.value, Fraction(-1)))


Triple = tuple[Germ | None, Germ, Germ]


def _germ_power(g: Germ, e: Fraction) -> Triple:
    f = germs.power(g, e)
    f1 = germs.power(g, e - 1).scaled(number(e))
    return f, f1, germs.power(g, e - 2).scaled(number(e * (e - 1)))


def _germ_exp(g: Germ) -> Triple:
    e = germs.exponential(g)
    return e, e, e


def _germ_log(g: Germ) -> Triple:
    inverse = germs.reciprocal(g)
    try:
        value = germs.logarithm(g)
    except Unknown:
        if not g.nonnegative():
            raise
        value = None
    return value, inverse, -(inverse * inverse)


def _about_limit(name: str, g: Germ) -> Triple:
    """A smooth function of a germ with a limit, by its own Taylor series."""

    def derivative(k: int) -> Callable[[arb_series], arb_series]:
        def f(s: arb_series) -> arb_series:
            cap, ctx.cap = ctx.cap, ctx.cap + k
            try:
                out = SMOOTH[name](arb_series([s[0], 1]))
                for _ in range(k):
                    out = out.derivative()
            finally:
                ctx.cap = cap
            return arb_series([out[i] for i in range(cap)])

        return f

    return tuple(germs.expanded(g, derivative(k)) for k in range(3))  # type: ignore[return-value]


def _decay(g: Germ, rate: int) -> tuple[Germ, int]:
    """(e^(-rate |g|), the sign of g) for a germ without a limit."""
    m, c = g.lead()
    if m <= germs.ONE:
        raise Unknown
    side = 1 if c > 0 else -1
    return germs.exponential(g.scaled(arb(-side * rate))), side


def _germ_sigmoid(g: Germ) -> Triple:
    if germs.bounded(g):
        return _about_limit("sigmoid", g)
    e, side = _decay(g, 1)
    one = e.constant(ONE)
    below = germs.reciprocal(one + e)
    slope = e * below * below
    second = slope * below * (one - e)
    return (below if side > 0 else e * below), slope, (-second if side > 0 else second)


def _germ_tanh(g: Germ) -> Triple:
    if germs.bounded(g):
        return _about_limit("tanh", g)
    e, side = _decay(g, 2)
    one, sign = e.constant(ONE), arb(side)
    below = germs.reciprocal(one + e)
    slope = (e * below * below).scaled(arb(4))
    second = (slope * below * (one - e)).scaled(-2 * sign)
    return ((one - e) * below).scaled(sign), slope, second


def _germ_softplus(g: Germ) -> Triple:
    if germs.bounded(g):
        return _about_limit("softplus", g)
    e, side = _decay(g, 1)
    log1p = germs.expanded(e, lambda s: (1 + s).log())
    first, second, _ = _germ_sigmoid(g)
    assert first is not None
    return (g + log1p if side > 0 else log1p), first, second


def _germ_atan(g: Germ) -> Triple:
    square_ = germs.reciprocal(g * g + g.constant(ONE))
    second = (g * square_ * square_).scaled(arb(-2))
    if germs.bounded(g):
        return germs.expanded(g, lambda s: s.atan()), square_, second
    _, c = g.lead()
    inverse = germs.expanded(germs.reciprocal(g), lambda s: s.atan())
    limit = g.constant(arb.pi() / 2 if c > 0 else -arb.pi() / 2)
    return limit - inverse, square_, second


def _germ_erf(g: Germ) -> Triple:
    if germs.bounded(g):
        return _about_limit("erf", g)
    _, c = g.lead()
    e = germs.exponential(-(g * g))
    slope = e.scaled(2 / arb.pi().sqrt())
    rest = e.scaled(ZERO.union(ONE))  # 0 <= 1 - |erf| <= e^(-g^2)
    one = g.constant(ONE)
    return (one - rest if c > 0 else rest - one), slope, (g * slope).scaled(arb(-2))


def _germ_wave(name: str) -> Callable[[Germ], Triple]:
    def f(g: Germ) -> Triple:
        if germs.bounded(g):
            return _about_limit(name, g)
        wave = g.constant((-ONE).union(ONE))
        return wave, wave, wave

    return f


_GERMS: dict[str, Callable[[Germ], Triple]] = {
    "exp": _germ_exp,
    "log": _germ_log,
    "sqrt": lambda g: _germ_power(g, Fraction(1, 2)),
    "sigmoid": _germ_sigmoid,
    "tanh": _germ_tanh,
    "softplus": _germ_softplus,
    "atan": _germ_atan,
    "erf": _germ_erf,
    "sin": _germ_wave("sin"),
    "cos": _germ_wave("cos"),
}


def _distribution(a: GermArithmetic, x: GermJet) -> GermJet:
    scaled = x * a.constant(1 / arb(2).sqrt())
    return (a.unary("erf", {}, scaled) + a.constant(ONE)) * a.constant(arb(1) / 2)


_PRODUCTS: dict[str, Callable[[GermArithmetic, GermJet], GermJet]] = {
    "silu": lambda a, x: a.unary("sigmoid", {}, x),
    "mish": lambda a, x: a.unary("tanh", {}, a.unary("softplus", {}, x)),
    "xlogx": lambda a, x: a.unary("log", {}, x),
    "gelu": _distribution,
}
